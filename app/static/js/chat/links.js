/**
 * Turns a message into text and links, without ever parsing it as HTML. Only http and https become links, and a link
 * tells the other site neither where the reader comes from nor lets it touch this page.
 */
const URL_PATTERN = /https?:\/\/[^\s<>"'`]+/giu;
const TRAILING = /[.,;:!?…'*_~]+$/u; // punctuation of the sentence around the address

/** @param {string} text @returns {DocumentFragment} */
export function linked(text) {
  const fragment = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(URL_PATTERN)) {
    const address = withoutTrailing(match[0]);
    const href = safeUrl(address);
    if (!href) continue;
    fragment.append(text.slice(end, match.index), link(href, address));
    end = match.index + address.length;
  }
  fragment.append(text.slice(end));
  return fragment;
}

function link(href, label) {
  const anchor = document.createElement('a');
  anchor.href = href;
  anchor.textContent = label;
  anchor.target = '_blank';
  anchor.rel = 'noopener noreferrer nofollow';
  return anchor;
}

/** "(see https://example.org/a_(b))." links https://example.org/a_(b) */
function withoutTrailing(address) {
  let result = address.replace(TRAILING, '');
  while (/[)\]}]$/u.test(result) && count(result, result.at(-1)) > count(result, opening(result.at(-1)))) {
    result = result.slice(0, -1).replace(TRAILING, '');
  }
  return result;
}

const opening = (closing) => ({ ')': '(', ']': '[', '}': '{' })[closing];
const count = (text, character) => text.split(character).length - 1;

function safeUrl(address) {
  try {
    const url = new URL(address);
    return (url.protocol === 'http:' || url.protocol === 'https:') && url.hostname ? url.href : null;
  } catch {
    return null;
  }
}
