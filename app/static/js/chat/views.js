/** Small screens show one of rooms, chat and market at a time. Wide ones show all, and this changes nothing there. */

/** @param {'rooms'|'chat'|'market'} view */
export function showView(view) {
  document.body.dataset.view = view;
  for (const tab of document.querySelectorAll('.tab')) {
    if (tab.dataset.show === view) tab.setAttribute('aria-current', 'true');
    else tab.removeAttribute('aria-current');
  }
}

export function listenToTabs() {
  for (const tab of document.querySelectorAll('.tab')) tab.addEventListener('click', () => showView(tab.dataset.show));
  showView(document.body.dataset.view);
}
