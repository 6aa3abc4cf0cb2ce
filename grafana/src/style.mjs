// @ts-check
// Colours, thresholds and value mappings: the same meaning has the same colour on every dashboard.
import * as d from '@grafana/grafana-foundation-sdk/dashboard';

/** Okabe-Ito: distinct with the common kinds of colour blindness. A word or a number always repeats the colour. */
export const COLOUR = {
  ok: '#009E73',
  warn: '#E69F00',
  bad: '#D55E00',
  info: '#56B4E9',
  none: '#8e8e8e',
  clear: 'transparent',
};

/** @typedef {keyof typeof COLOUR} Colour */
/** @typedef {[number, Colour]} Step */

/**
 * Thresholds: the colour below the first step, then one from each step's value upwards.
 * @param {Colour} base
 * @param {readonly Step[]} more
 */
export const thresholds = (base, more) =>
  new d.ThresholdsConfigBuilder()
    .mode(d.ThresholdsMode.Absolute)
    .steps([
      { value: null, color: COLOUR[base] },
      ...more.map(([value, colour]) => ({ value, color: COLOUR[colour] })),
    ]);

/**
 * What a panel shows where there is no number. Grafana paints an absent value in the base colour, which would be
 * green: this mapping makes it grey.
 * @param {string} text
 * @returns {d.ValueMapping}
 */
export const absent = (text) => ({
  type: d.MappingType.SpecialValue,
  options: { match: d.SpecialValueMatch.NullAndNan, result: { text, color: COLOUR.none, index: 99 } },
});

/**
 * A word and a colour for each value of a state.
 * @param {Record<string, [string, Colour]>} states
 * @returns {d.ValueMapping}
 */
export const words = (states) => ({
  type: d.MappingType.ValueToText,
  options: Object.fromEntries(
    Object.entries(states).map(([value, [text, colour]], index) => [value, { text, color: COLOUR[colour], index }]),
  ),
});

/**
 * One word for all values from `from` upwards: "stopped" for an infinite lag, "3 of 3" and more.
 * @param {number} from
 * @param {string} text
 * @param {Colour} colour
 * @returns {d.ValueMapping}
 */
export const above = (from, text, colour) => ({
  type: d.MappingType.RangeToText,
  options: { from, to: null, result: { text, color: COLOUR[colour], index: 98 } },
});

export const VERDICT = words({
  0: ['healthy', 'ok'],
  1: ['degraded', 'warn'],
  2: ['down', 'bad'],
  3: ['unknown', 'none'],
});
export const CHECK = words({ 0: ['ok', 'ok'], 1: ['warn', 'warn'], 2: ['fail', 'bad'] });
export const ALERT = words({ 0: ['quiet', 'none'], 1: ['pending', 'warn'], 2: ['firing', 'bad'] });
