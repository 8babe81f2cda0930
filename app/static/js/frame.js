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
      scheduled = false;
      draw();
    };
    if (document.hidden) setTimeout(run, 50);
    else requestAnimationFrame(run);
  };
}
