const LATEST_MS = 250; // a page that is hidden now gets no frame any more, also not the one it was promised

/**
 * Batches redraws: the returned function may be called often, `draw` runs once per animation frame.
 * A hidden page gets no frames; there a timer keeps it up to date.
 * @param {() => void} draw
 */
export function oncePerFrame(draw) {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    const run = () => {
      if (!scheduled) return;
      scheduled = false;
      draw();
    };
    if (!document.hidden) requestAnimationFrame(run);
    setTimeout(run, document.hidden ? 50 : LATEST_MS);
  };
}
