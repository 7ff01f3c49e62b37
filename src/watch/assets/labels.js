// What the labels of a run are worth: reliability, position and length bias.

import { barChart, reliabilityChart } from './chart.js';
import { el, runSections, table } from './dom.js';

const bar = (name, rate) => ({ name, value: rate?.rate, low: rate?.ci[0], high: rate?.ci[1] });

function figures({ labeler, truth, reward_model: model }) {
  const found = [];
  const bins = labeler?.gold?.calibration ?? truth?.reliability;
  if (bins) {
    found.push(reliabilityChart('Labeler', 'share that agrees with gold by the label\'s probability; calibrated on the dashed line', bins));
  }
  if (model?.reliability) {
    found.push(reliabilityChart('Reward model', 'share of held-out labels it agrees with by its probability', model.reliability));
  }
  if (labeler) {
    const n = labeler.confidence.length;
    const name = (i) => (i % 2 ? '' : String(0.5 + (0.5 * i) / n));
    found.push(barChart('Confidence', 'labels by their probability', labeler.confidence.map((value, i) => ({ name: name(i), value }))));
  }
  if (labeler?.position) {
    const { same_position: same, first } = labeler.position;
    found.push(barChart('Position', 'how often the same position wins in both orders, and of those the first', [
      bar('same position wins', same), bar('of those the first', first)], { top: 1, level: 0.5 }));
  }
  if (labeler) {
    const ratio = ({ low, high }) => (high == null ? `${low}+` : `${low}-${high}`);
    found.push(barChart('Longer answer wins', 'by how many times as long it is',
      labeler.length.by_ratio.map((one) => bar(ratio(one), one.longer_wins)), { top: 1, level: 0.5 }));
  }
  return found;
}

/** The view of labels. */
export function labelsView(state) {
  return runSections(state, 'labels', {
    holds: (answer) => answer.labeler || answer.truth || answer.reward_model,
    content: (answer) => [
      answer.whole === false ? el('p', { class: 'note' }, 'Still reading; what is counted so far:') : null,
      el('div', { class: 'charts' }, figures(answer)),
      answer.tables.map(table),
    ],
    none: 'The chosen runs hold no labels yet.',
  });
}
