/** Where the reader is among the messages: at the end, which is followed, or further up, which is kept. */
const AT_END_PX = 60; // this close to the end counts as reading the end

export class Place {
  #scroller;
  #scrollTop = 0; // as it was seen last
  followsEnd = true;

  /** @param {HTMLElement} scroller @param {() => void} changed  the reader has moved, or the frame has another size */
  constructor(scroller, changed) {
    this.#scroller = scroller;
    scroller.addEventListener('scroll', () => {
      if (!this.isShown) return;
      this.#notice();
      changed();
    }, { passive: true });
    // The frame shrinks for the keyboard, for a longer message, for the banner: the end stays in view.
    const watch = new ResizeObserver(() => {
      if (this.followsEnd) this.toEnd();
      changed();
    });
    watch.observe(scroller);
  }

  /** False on a small screen that shows something else. */
  get isShown() {
    return this.#scroller.clientHeight > 0;
  }

  get fromTop() {
    return this.#scroller.scrollTop;
  }

  /** More than a screen away from the end. */
  get isFar() {
    return this.#fromEnd > this.#scroller.clientHeight;
  }

  toEnd() {
    this.followsEnd = true;
    // A pixel may be the beginning of a scroll by keys, which setting the position would end.
    if (this.#fromEnd > 1) this.#moveTo(this.fromTop + this.#fromEnd);
  }

  /** Put `element` near the top, with a little of what comes before it. */
  landAt(element) {
    const above = element.getBoundingClientRect().top - this.#scroller.getBoundingClientRect().top;
    this.#moveTo(this.fromTop + above - this.#scroller.clientHeight / 4);
    this.followsEnd = this.#fromEnd < AT_END_PX;
  }

  /**
   * Let rows come and go, and stay.
   * @param {Iterable<HTMLElement>} rows  those of now, from top to bottom
   * @param {() => void} change
   */
  keep(rows, change) {
    // The reader may have begun to scroll, and its event not have come yet.
    if (this.isShown && this.fromTop < this.#scrollTop) this.#notice();
    const anchor = this.followsEnd ? null : this.#findAnchor(rows);
    change();
    if (this.followsEnd) this.toEnd();
    else if (anchor) this.#moveTo(this.fromTop + anchor.row.getBoundingClientRect().bottom - anchor.bottom);
  }

  #moveTo(top) {
    // Also where nothing moves, setting it would end a smooth scroll that the reader has begun.
    if (Math.abs(top - this.fromTop) < 0.5) return;
    this.#scroller.scrollTop = top;
    this.#scrollTop = this.fromTop; // not the reader's doing
  }

  get #fromEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  #notice() {
    const { scrollTop } = this.#scroller;
    // Whoever scrolls up leaves the end with the first pixel: by keys it begins slowly, and would be taken back each time.
    const isLeaving = scrollTop < this.#scrollTop && this.#fromEnd > 1;
    this.#scrollTop = scrollTop;
    this.followsEnd = this.#fromEnd < AT_END_PX && !isLeaving;
  }

  /**
   * The topmost row in view: it stays where it is while rows come and go above it. By its lower edge, for with an older
   * message above it, it may lose its author's name.
   */
  #findAnchor(rows) {
    const frameTop = this.#scroller.getBoundingClientRect().top;
    for (const row of rows) {
      const { bottom } = row.getBoundingClientRect();
      if (bottom > frameTop) return { row, bottom };
    }
    return null;
  }
}
