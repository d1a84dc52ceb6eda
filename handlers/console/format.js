// How numbers, times and states are written.

import { now } from './api.js';
import { el, pill } from './dom.js';

const numbers = new Intl.NumberFormat('en');

// number writes a number; what is not known is never 0.
export const number = (n) => (n == null ? 'unknown' : numbers.format(n));

// many writes how many there are of something.
export const many = (n, one, more) => (n == null ? 'unknown' : `${numbers.format(n)} ${n === 1 ? one : more ?? `${one}s`}`);

export function percent(part, whole) {
  if (!(whole > 0)) return 'unknown';
  const share = (100 * part) / whole;
  // 100 % is said only of all: one event that was lost must show.
  return `${share === 100 || share === 0 ? share : Math.min(99.9, Math.max(0.1, share)).toFixed(1)} %`;
}

// span writes a length of time, given in seconds.
export function span(seconds) {
  if (seconds == null || Number.isNaN(seconds)) return 'unknown';
  const s = Math.max(0, seconds);
  if (s < 10) return `${Math.round(s * 10) / 10} s`;
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

// age is how long ago it was, in seconds, by the service's clock.
export const age = (at) => (at ? (now() - Date.parse(at)) / 1000 : null);

const two = (n) => String(n).padStart(2, '0');

// clock writes a time of day, here.
export function clock(at) {
  const t = new Date(at);
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
}

// time shows a moment as the clock here has it; the exact one is its title.
export function time(at) {
  if (!at) return 'unknown';
  const t = new Date(at);
  return el('time', { datetime: at, title: at }, `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${clock(at)}`);
}

// ago shows how long ago a moment was.
export function ago(at) {
  return at ? el('time', { datetime: at, title: at }, `${span(age(at))} ago`) : 'unknown';
}

const runKinds = { running: 'info', succeeded: 'ok', incomplete: 'bad', settling: 'info', held: 'warn', canceled: 'plain' };
export const runState = (state) => pill(runKinds[state] ?? 'plain', state);

const sinkKinds = { waiting: 'warn', following: 'ok', replacing: 'info', retrying: 'bad', stopped: 'bad' };
export const sinkState = (state) => pill(sinkKinds[state] ?? 'plain', state);

// working tells whether a run is still at work.
export const working = (run) => run?.state === 'running' || run?.state === 'settling';

// took is how long a run took, or has taken so far.
export const took = (run) => span(((run.endedAt ? Date.parse(run.endedAt) : now()) - Date.parse(run.startedAt)) / 1000);

// objectLink leads to the neighbourhood of an object.
export const objectLink = (instance, key) => `#/instances/${encodeURIComponent(instance)}/objects/${encodeURIComponent(key)}`;
