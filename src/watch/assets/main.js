// The page: which runs there are, which view is shown, and the clock.

import { Metrics, curvesView } from './curves.js';
import { el, get } from './dom.js';
import { labelsView } from './labels.js';
import { resultsView } from './results.js';
import { samplesView } from './samples.js';

const EVERY_MS = 2000;
// A run that has logged nothing for so long is not called alive.
const IDLE_SECS = 60;

const VIEWS = { curves: curvesView, samples: samplesView, labels: labelsView, results: resultsView };

const state = {
  server: null, runs: [], first: [], notFirst: [],
  settings: { search: '', smoothing: 0, log: false, open: new Map() },
  samples: { run: 0, kind: null, from: 0 },
};
const status = document.getElementById('status');
const main = document.getElementById('view');
const chooser = el('div', { class: 'runs', role: 'group', 'aria-label': 'Runs' });
const place = el('div');
let view = null;

const named = () => (Object.hasOwn(VIEWS, location.hash.slice(1)) ? location.hash.slice(1) : 'curves');

function open() {
  const name = named();
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  view = VIEWS[name](state);
  chooser.hidden = name === 'samples' || state.runs.length < 2;
  place.replaceChildren(view.element);
}

function choose() {
  chooser.replaceChildren(...state.runs.map((run) => el('label', {},
    el('input', { type: 'checkbox', checked: run.chosen, change: (event) => {
      run.chosen = event.target.checked;
      view.update();
    } }), el('span', { class: 'swatch', color: run.color }), run.name)));
}

async function readMetrics(run) {
  let fresh = false;
  for (;;) {
    const after = run.metrics.next ? `&after=${run.metrics.next}` : '';
    const found = await get(`/api/metrics?run=${run.number}${after}`);
    fresh = run.metrics.take(found) || fresh;
    if (!found.more) return fresh;
  }
}

function describe() {
  const alive = state.runs.filter((run) => run.life.idle_secs != null && run.life.idle_secs < IDLE_SECS);
  const n = state.runs.length;
  return `${n} ${n === 1 ? 'run' : 'runs'}, ${alive.length ? `${alive.length} writing` : 'none writing'}`;
}

async function refresh() {
  const found = await get('/api/runs');
  // Another server numbers its runs in its own way.
  if (state.server !== null && state.server !== found.server) location.reload();
  Object.assign(state, { server: found.server, first: found.first, notFirst: found.not_first });
  const known = state.runs.length;
  for (const run of found.runs) {
    state.runs[run.number] ??= { chosen: true, metrics: new Metrics() };
    Object.assign(state.runs[run.number], run);
  }
  const fresh = await Promise.all(state.runs.map(readMetrics));
  if (view === null || known !== state.runs.length) {
    choose();
    open();
  } else if (fresh.some(Boolean) || named() !== 'curves') {
    view.update();
  }
  status.textContent = describe();
}

async function tick() {
  try {
    if (!document.hidden) await refresh();
  } catch (fault) {
    status.textContent = `No answer: ${fault.message}`;
  }
  setTimeout(tick, EVERY_MS);
}

main.replaceChildren(chooser, place);
addEventListener('hashchange', () => {
  open();
  main.focus({ preventScroll: true });
});
tick();
