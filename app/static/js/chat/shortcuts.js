/** Keys that work anywhere on the page. Those of the message box are in composer.js. */

/**
 * @param {{showShortcuts: () => void, openNeighbour: (step: -1|1) => void, focusComposer: () => void}} actions
 */
export function listenToShortcuts({ showShortcuts, openNeighbour, focusComposer }) {
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector('dialog[open]')) return;
    if (event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return;
      event.preventDefault();
      openNeighbour(event.key === 'ArrowUp' ? -1 : 1);
      return;
    }
    if (event.ctrlKey || event.metaKey || isTyping(event.target)) return;
    if (event.key === '?') {
      event.preventDefault();
      showShortcuts();
    } else if (event.key === '/') {
      event.preventDefault();
      focusComposer();
    }
  });
}

function isTyping(element) {
  return element.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(element.tagName);
}
