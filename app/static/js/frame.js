const LATEST_MS = 250; // a page that is hidden now gets no frame any more, also not the one it was promised

/**
 * Batches redraws: the returned function may be called often, `draw` runs once per animation frame.
 * A hidden page gets no frames; there a timer keeps it up to date.
 * @param {() => void} draw
 */
export function oncePerFrame(draw) {
  let frame = null;
  let timer = null;
  const run = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer); // or it would draw what is asked for next before its frame
    timer = null;
    draw();
  };
  return () => {
    if (timer !== null) return;
    frame = document.hidden ? null : requestAnimationFrame(run);
    timer = setTimeout(run, document.hidden ? 50 : LATEST_MS);
  };
}
