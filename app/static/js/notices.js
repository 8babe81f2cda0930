/** Short notices at the edge of the page that go away by themselves. */
const SHOWN_MS = 6_000;

/** @param {string} text */
export function notify(text) {
  const region = document.getElementById('notices');
  for (const shown of region.children) if (shown.textContent === text) shown.remove();
  const notice = document.createElement('p');
  notice.className = 'notice';
  notice.textContent = text;
  region.append(notice);
  setTimeout(() => notice.remove(), SHOWN_MS);
}
