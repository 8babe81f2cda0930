/** The operations page, put together. */
import { Banner } from '../banner.js';
import { Connection } from '../connection.js';
import { oncePerFrame } from '../frame.js';
import { Ops } from './cluster.js';
import { Actions } from './actions.js';
import { drawNodes } from './nodes.js';
import { drawOverview } from './overview.js';
import { drawQueue } from './queue.js';
import { drawTables } from './tables.js';
import { announceTimeline, drawTimeline } from './timeline.js';

const main = document.getElementById('ops');
const tour = document.getElementById('tour'); // only where it is enabled: templates/ops_tour.html
const connection = new Connection(tour ? ['/ops', '/tour'] : ['/ops']);
const ops = new Ops(connection.channel('/ops'));
const actions = new Actions(ops);
new Banner(connection).on('left', () => document.getElementById('ops-title').focus());

const draw = oncePerFrame(() => {
  drawOverview(ops);
  drawNodes(ops, actions);
  drawQueue(ops, actions);
  drawTables(ops);
});
ops.on('figures', () => { main.classList.remove('is-stale'); draw(); });
ops.on('silent', () => main.classList.add('is-stale'));
ops.on('dead', () => connection.restart());
ops.on('happened', oncePerFrame(() => drawTimeline(ops)));
ops.on('synced', () => requestAnimationFrame(() => requestAnimationFrame(() => announceTimeline(true))));

connection.on('state', ({ phase }) => {
  if (phase === 'online') return; // not stale any more when the figures are here
  main.classList.add('is-stale');
  announceTimeline(false);
});
connection.on('session_ended', (reason) => connection.refuse(reason));
connection.on('refused', (code) => {
  const query = new URLSearchParams(window.location.search); // which says whether the tour is open
  query.set('reason', code);
  window.location.assign(`/ops/sign-in?${query}`);
});
document.getElementById('ops-sign-out').addEventListener('submit', () => connection.stop());

// The tour begins with what the page has already: its connection.
if (tour) import('../tour/page.js').then(({ startTour }) => startTour(connection.channel('/tour')));

connection.reconnectNow();
