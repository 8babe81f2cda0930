/**
 * Keeps the composer above the on-screen keyboard. Where the viewport meta tag cannot shrink the page (iOS), the page
 * is given the height of what is visible.
 */
const KEYBOARD_PX = 120; // a smaller difference is a browser bar

export function watchKeyboard() {
  const viewport = window.visualViewport;
  if (!viewport) return;
  const root = document.documentElement;
  const fit = () => {
    const zoomed = viewport.scale > 1.01;
    const covered = window.innerHeight - viewport.height;
    if (!zoomed && covered > KEYBOARD_PX) {
      root.style.setProperty('--app-height', `${viewport.height}px`);
      window.scrollTo(0, 0);
    } else {
      root.style.removeProperty('--app-height');
    }
  };
  viewport.addEventListener('resize', fit);
}
