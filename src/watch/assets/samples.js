// A browser of the rows that a run holds: labelled pairs, rollouts, completions.

import { lineChart } from './chart.js';
import { choice, el, get } from './dom.js';

const NAMES = {
  preferences: 'labelled pairs', rollouts: 'rollouts by step', prompts: 'prompts over steps', evaluations: 'evaluation, by policy',
  completions: 'sampled completions', unlabeled: 'pairs without a verdict',
};
const AT_ONCE = 10;

function card({ title, facts, verdicts = [], rewards = [], texts }, color) {
  const line = { name: 'reward', color, steps: rewards.map(([step]) => step), values: rewards.map(([, reward]) => reward) };
  return el('article', { class: 'card' }, el('h3', {}, title),
    el('div', { class: 'facts' }, [...facts, ...verdicts].map(([name, value]) => el('span', {}, `${name} `, el('b', {}, value)))),
    rewards.length > 1 ? el('div', { class: 'charts' }, lineChart('mean reward', [line], { smoothing: 0, log: false })) : null,
    el('div', { class: 'texts' }, texts.map(({ name, text }) => el('section', {},
      el('h4', {}, name), el('div', { class: name === 'chosen' || name === 'rejected' ? `text ${name}` : 'text' }, text)))));
}

/** The view of samples. */
export function samplesView(state) {
  const place = state.samples;
  const [bar, list, above] = [el('div', { class: 'bar' }), el('div'), el('div', { class: 'charts' })];
  let shown = null;
  let asked = 0;

  const go = (change) => {
    Object.assign(place, change);
    show();
  };
  const run = () => state.runs.find((one) => one.number === place.run) ?? state.runs[0];

  const controls = (kinds, nRows, whole) => {
    const jump = el('input', { type: 'number', min: 1, max: nRows, value: place.from + 1, 'aria-label': 'Row',
      change: () => go({ from: Math.max(0, Math.min(nRows - 1, jump.valueAsNumber - 1 || 0)) }) });
    const last = Math.min(place.from + AT_ONCE, nRows);
    const focused = bar.contains(document.activeElement) ? document.activeElement.id : null;
    bar.replaceChildren(
      choice('Run', state.runs.map((one) => [one.number, one.name]), run().number, (number) => go({ run: Number(number), kind: null, from: 0 })),
      choice('Show', kinds.map((kind) => [kind, NAMES[kind]]), place.kind, (kind) => go({ kind, from: 0 })),
      el('button', { id: 'previous', disabled: place.from === 0, click: () => go({ from: Math.max(0, place.from - AT_ONCE) }) }, 'Previous'),
      el('button', { id: 'next', disabled: last >= nRows, click: () => go({ from: place.from + AT_ONCE }) }, 'Next'),
      el('label', {}, 'From row', jump),
      el('span', { class: 'note' }, `${nRows ? place.from + 1 : 0} to ${last} of ${nRows}${whole ? '' : ' so far, still reading'}`));
    if (focused) document.getElementById(focused)?.focus();
  };

  const show = async () => {
    const folder = run();
    if (!folder) return;
    if (!folder.kinds.includes(place.kind)) place.kind = folder.kinds[0] ?? null;
    if (!place.kind) {
      bar.replaceChildren(choice('Run', state.runs.map((one) => [one.number, one.name]), folder.number, (number) => go({ run: Number(number) })));
      list.replaceChildren(el('p', {}, 'This run holds no samples yet.'));
      above.replaceChildren();
      return;
    }
    const ticket = ++asked;
    try {
      const page = await get(`/api/rows?run=${folder.number}&kind=${place.kind}&from=${place.from}&n=${AT_ONCE}`);
      if (ticket !== asked) return;
      controls(folder.kinds, page.n_rows, page.whole);
      const now = JSON.stringify(page.cards);
      if (now === shown) return;
      shown = now;
      list.replaceChildren(...page.cards.map((one) => card(one, folder.color)));
      const rewards = place.kind === 'rollouts' ? folder.metrics.line('rl', 'reward') : null;
      above.replaceChildren(...(rewards ? [lineChart('reward', [{ ...rewards, name: folder.name, color: folder.color }], { smoothing: 0, log: false })] : []));
    } catch (fault) {
      list.replaceChildren(el('p', { role: 'alert' }, fault.message));
    }
  };
  show();
  return { element: el('div', {}, bar, above, list), update: show };
}
