/** A person's initials on a colour that is always the same for the same person. The colours are in css/people.css. */
const COLOURS = 10; // .avatar-0 to .avatar-9

/** @param {string} name */
export function initials(name) {
  const words = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => Array.from(word)[0]).join('').toUpperCase() || '?';
}

/** Draw `member` into an element of class "avatar". The letters are no text: they are not read aloud, nor copied. */
export function drawAvatar(element, member) {
  element.dataset.initials = initials(member.name);
  element.className = `avatar avatar-${hash(member.name) % COLOURS}`;
}

/** @returns {HTMLElement} */
export function avatar(member) {
  const element = document.createElement('span');
  element.setAttribute('aria-hidden', 'true');
  drawAvatar(element, member);
  return element;
}

/** FNV-1a: short, and spreads similar names over different colours. */
function hash(text) {
  let value = 0x811c9dc5;
  for (const character of text) value = Math.imul(value ^ character.codePointAt(0), 0x01000193) >>> 0;
  return (value ^ (value >>> 15)) >>> 0;
}
