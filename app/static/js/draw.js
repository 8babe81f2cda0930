/** Draws texts and lists in place: what has not changed is not touched, and whoever has the focus keeps it. */

/** @param {Element} element @param {string|number} text */
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/**
 * Keep the children of an element in step with a list.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {HTMLTemplateElement} template  of a new child
 * @param {(child: Element, item: T) => void} draw
 */
export function keepInStep(parent, items, keyOf, template, draw) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const child = before.get(key) ?? template.content.firstElementChild.cloneNode(true);
    before.delete(key);
    child.dataset.key = key;
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    draw(child, item);
  }
  for (const child of before.values()) child.remove();
}
