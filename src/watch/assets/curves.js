// All metrics of the chosen runs over each other, by stage.

import { lineChart } from './chart.js';
import { el } from './dom.js';

/** The metrics of one run, column by column. */
export class Metrics {
  constructor() {
    this.next = null;
    this.clear();
  }

  clear() {
    // Stage name -> { steps, columns: metric name -> values }.
    this.stages = new Map();
  }

  /** Takes what the server says; true if anything is new. */
  take({ rows, next, anew }) {
    if (anew) this.clear();
    this.next = next;
    for (const { stage, step, time, ...values } of rows) {
      if (!this.stages.has(stage)) this.stages.set(stage, { steps: [], columns: new Map() });
      const { steps, columns } = this.stages.get(stage);
      steps.push(step);
      for (const [name, value] of Object.entries(values)) {
        if (!columns.has(name)) columns.set(name, []);
        const column = columns.get(name);
        while (column.length < steps.length - 1) column.push(undefined);
        column.push(value);
      }
    }
    return anew || rows.length > 0;
  }

  /** Steps and values of a metric at the steps that logged it. */
  line(stage, name) {
    const found = this.stages.get(stage);
    const column = found?.columns.get(name);
    if (!column) return null;
    const logged = [...column.keys()].filter((i) => column[i] !== undefined);
    return { steps: logged.map((i) => found.steps[i]), values: logged.map((i) => column[i]) };
  }
}

/** The view of curves. `state` has `runs`, each with `metrics`, and the order of names. */
export function curvesView(state) {
  const settings = state.settings;
  const charts = el('div');
  const setting = (name, read) => (event) => {
    settings[name] = read(event.target);
    draw();
  };
  const search = el('input', { type: 'search', value: settings.search, placeholder: 'kl, reward, ...', input: setting('search', (input) => input.value) });
  const smoothing = el('input', { type: 'range', min: 0, max: 0.99, step: 0.01, value: settings.smoothing, input: setting('smoothing', (input) => Number(input.value)) });
  const log = el('input', { type: 'checkbox', checked: settings.log, change: setting('log', (input) => input.checked) });
  const bar = el('div', { class: 'bar' },
    el('label', {}, 'Metrics', search), el('label', {}, 'Smoothing', smoothing), el('label', {}, log, 'Log scale'));

  const rank = (name) => {
    const lower = name.toLowerCase();
    if (state.notFirst.some((start) => lower.startsWith(start))) return state.first.length;
    const found = state.first.findIndex((word) => lower.includes(word));
    return found < 0 ? state.first.length : found;
  };
  const chart = (stage, name) => {
    const lines = state.runs.filter((run) => run.chosen).flatMap((run) => {
      const line = run.metrics.line(stage, name);
      return line ? [{ ...line, name: run.name, color: run.color }] : [];
    });
    return lineChart(name, lines, settings);
  };
  // Charts of a folded part are drawn when it is opened.
  const part = (key, title, stage, names, open) => {
    const grid = el('div', { class: 'charts' });
    const fill = () => grid.replaceChildren(...names.map((name) => chart(stage, name)));
    const isOpen = settings.search ? true : settings.open.get(key) ?? open;
    if (isOpen) fill();
    const details = el('details', { open: isOpen, toggle: () => {
      if (!settings.search) settings.open.set(key, details.open);
      if (details.open && !grid.hasChildNodes()) fill();
    } }, el('summary', {}, title), grid);
    return details;
  };
  const draw = () => {
    // Redrawing takes the place of what has the focus.
    const focused = charts.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
    const chosen = state.runs.filter((run) => run.chosen);
    const stages = [...new Set(chosen.flatMap((run) => [...run.metrics.stages.keys()]))];
    const wanted = settings.search.toLowerCase();
    const parts = stages.flatMap((stage) => {
      const all = chosen.flatMap((run) => [...(run.metrics.stages.get(stage)?.columns.keys() ?? [])]);
      const names = [...new Set(all)].filter((name) => `${stage}/${name}`.toLowerCase().includes(wanted));
      names.sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
      const first = names.filter((name) => wanted || rank(name) < state.first.length);
      const rest = names.filter((name) => !first.includes(name));
      if (!names.length) return [];
      const group = el('section', { 'aria-label': stage }, el('h2', {}, stage));
      if (first.length) group.append(part(`${stage} first`, wanted ? `${first.length} found` : 'Main metrics', stage, first, true));
      if (rest.length) group.append(part(`${stage} rest`, first.length ? `${rest.length} more` : `${rest.length} metrics`, stage, rest, !first.length));
      return [group];
    });
    charts.replaceChildren(...parts);
    if (!parts.length) charts.append(el('p', {}, wanted ? 'No metric has such a name.' : 'Nothing is logged yet.'));
    if (focused) {
      const name = focused.split(' by step; ')[0];
      const again = [...charts.querySelectorAll('svg')].find((one) => one.getAttribute('aria-label').startsWith(`${name} by step; `));
      again?.focus({ preventScroll: true });
    }
  };
  draw();
  return { element: el('div', {}, bar, charts), update: draw };
}
