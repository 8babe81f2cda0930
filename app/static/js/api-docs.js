/* Starts Swagger UI on the address that the page names. */
window.addEventListener('DOMContentLoaded', function () {
  const container = document.getElementById('api-docs');
  window.SwaggerUIBundle({
    domNode: container,
    url: container.dataset.specUrl,
    deepLinking: true,
    docExpansion: 'list',
    validatorUrl: null, // no requests to other sites
  });
});
