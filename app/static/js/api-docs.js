/* Starts Swagger UI on the address that the page names, and hands it the theme. */
(function () {
  'use strict';

  const root = document.documentElement;
  const followTheme = function () {
    root.classList.toggle('dark-mode', root.dataset.theme === 'dark'); // Swagger UI's name for it
  };
  followTheme();
  new MutationObserver(followTheme).observe(root, { attributeFilter: ['data-theme'] });

  document.addEventListener('DOMContentLoaded', function () {
    const container = document.getElementById('api-docs');
    window.SwaggerUIBundle({
      domNode: container,
      url: container.dataset.specUrl,
      deepLinking: false, // its links stand inside of buttons, which keyboards and screen readers cannot tell apart
      validatorUrl: null, // no requests to other sites
    });
  });
})();
