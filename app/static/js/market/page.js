/** The market page, put together: the table of all symbols, the chart of one, and a button that holds both still. */
import { Banner } from '../banner.js';
import { Connection } from '../connection.js';
import { oncePerFrame } from '../frame.js';
import { MarketChart } from './chosen.js';
import { MarketTable } from './table.js';
import { Quotes } from './quotes.js';

const STATUS = {
  connecting: ['waiting', 'Connecting'], live: ['live', 'Live'], closed: ['waiting', 'Closed'], cut: ['paused', 'No connection'], failed: ['paused', 'No prices'],
};
const count = new Intl.NumberFormat();

const page = document.getElementById('market');
const status = document.getElementById('market-status');
const note = document.getElementById('market-note');
const pauseButton = document.getElementById('market-pause');

const connection = new Connection(['/market']);
const channel = connection.channel('/market');
const quotes = new Quotes(channel);
const table = new MarketTable();
const chart = new MarketChart(channel, () => redraw());
let chosen = '';
/** While the page is held still: how many ticks had passed when it was. @type {number|null} */
let pausedAt = null;

const redraw = oncePerFrame(() => {
  if (pausedAt === null) table.draw();
  // A symbol that is chosen while the page is held still is shown as far as its row.
  chart.draw(pausedAt === null ? null : table.shown(chosen));
  showStatus();
});

function showStatus() {
  const [state, text] = STATUS[quotes.state.phase];
  const behind = quotes.passed - pausedAt;
  const words = pausedAt === null ? text : `Paused, ${count.format(behind)} ${behind === 1 ? 'tick' : 'ticks'} behind`;
  status.dataset.state = pausedAt === null ? state : 'waiting';
  if (status.textContent !== words) status.textContent = words;
}

function showState() {
  const { phase, message } = quotes.state;
  const empty = quotes.lines.size === 0;
  page.dataset.state = phase === 'closed' ? 'closed' : empty ? 'waiting' : 'open';
  note.hidden = !empty && phase !== 'failed';
  if (phase === 'closed') note.textContent = 'No symbols are traded right now: this server runs no market feed.';
  else if (phase === 'failed') note.textContent = `No prices right now. ${message}`;
  else if (phase === 'connecting' || empty) note.textContent = 'Loading prices…';
  showStatus();
}

/** Show the symbol that the address names, or the first one; or bring the chart of the one that is shown up to date. */
function choose() {
  const line = quotes.lines.get(symbolOfAddress()) ?? quotes.lines.get(table.first);
  if (!line) return;
  table.choose(line.symbol);
  if (line.symbol === chosen) chart.load();
  else chart.choose(line);
  chosen = line.symbol;
}

function symbolOfAddress() {
  try {
    return decodeURIComponent(window.location.hash.slice(1));
  } catch {
    return ''; // a % that is no code: nobody's symbol
  }
}

function pause(on) {
  pausedAt = on ? quotes.passed : null;
  chart.held = on;
  pauseButton.setAttribute('aria-pressed', String(on));
  pauseButton.querySelector('span').textContent = on ? 'Resume' : 'Pause';
  chart.changed();
}

quotes.on('lines', () => { table.list(quotes.lines.values()); choose(); redraw(); });
quotes.on('tick', ({ tick }) => { chart.add(tick); redraw(); });
quotes.on('state', showState);
connection.on('wake', (timeoutMs) => quotes.sync(timeoutMs));
// A session that has ended is no reason to leave: the page is for everybody, and comes back without it.
connection.on('refused', () => window.location.reload());
window.addEventListener('hashchange', choose);
pauseButton.addEventListener('click', () => pause(pausedAt === null));
new Banner(connection).on('left', () => document.getElementById('market-title').focus());
showState();

connection.reconnectNow();
