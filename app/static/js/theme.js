/*
 * Light or dark. A classic script that blocks in <head>, so that the right theme stands before the first paint.
 * The theme follows the system until somebody presses a button marked data-theme-toggle; choosing what the
 * system shows anyway goes back to following it.
 */
(function () {
  'use strict';

  const STORAGE_KEY = 'theme';
  const BROWSER_BAR_COLOURS = { light: '#f6f5f1', dark: '#151619' }; // --canvas of css/tokens.css
  const systemIsDark = window.matchMedia('(prefers-color-scheme: dark)');

  function systemTheme() {
    return systemIsDark.matches ? 'dark' : 'light';
  }

  function chosenTheme() {
    try {
      const theme = localStorage.getItem(STORAGE_KEY);
      return theme === 'light' || theme === 'dark' ? theme : null;
    } catch {
      return null; // storage is forbidden here: follow the system
    }
  }

  function choose(theme) {
    try {
      if (theme === systemTheme()) localStorage.removeItem(STORAGE_KEY);
      else localStorage.setItem(STORAGE_KEY, theme);
    } catch {
      // The choice then lasts until the page is left.
    }
    apply(theme);
  }

  function apply(theme) {
    document.documentElement.dataset.theme = theme;
    const bar = document.querySelector('meta[name="theme-color"]');
    if (bar) bar.content = BROWSER_BAR_COLOURS[theme];
    for (const button of document.querySelectorAll('[data-theme-toggle]')) {
      button.setAttribute('aria-pressed', String(theme === 'dark'));
    }
  }

  function follow() {
    apply(chosenTheme() || systemTheme());
  }

  follow();
  document.addEventListener('DOMContentLoaded', follow); // the buttons exist only now
  systemIsDark.addEventListener('change', follow);
  window.addEventListener('storage', function (event) {
    if (event.key === STORAGE_KEY || event.key === null) follow();
  });
  document.addEventListener('click', function (event) {
    if (!event.target.closest('[data-theme-toggle]')) return;
    choose(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark');
  });
})();
