// Several scenarios, one of them `default`; groups in groups, with and without checks, in setup(), with numbers for
// names; custom metrics of every type in them; thresholds on a group and on a scenario.
import exec from 'k6/execution';
import { check, group } from 'k6';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

const cost = new Trend('cost', true);
const size = new Trend('size');
const items = new Counter('items');
const level = new Gauge('level');
const odd = new Rate('odd');

const once = { executor: 'per-vu-iterations', vus: 1 };
export const options = {
  scenarios: {
    default: { ...once, iterations: 3 },
    zeta: { ...once, iterations: 2, startTime: '300ms' },
    Alpha: { ...once, iterations: 2, startTime: '600ms', exec: 'alpha' },
    idle: { ...once, iterations: 1, startTime: '900ms', exec: 'idle' },
  },
  thresholds: {
    'cost{group:::outer}': ['avg<1', 'p(99)<1000'],
    'cost{scenario:zeta}': ['p(99)<10000'],
    'checks{group:::outer::inner <b>}': ['rate>0.5'],
    items: ['count>1'],
    'items{scenario:nobody}': ['count<1'],
  },
};

export function setup() {
  check(1, { 'in setup itself': (x) => x === 1 });
  group('in setup', () => {
    items.add(1);
    check(1, { 'set up': (x) => x === 1 });
  });
  cost.add(5);
}

export default function () {
  const i = exec.scenario.iterationInTest;
  check(i, { 'outside groups': () => i < 2 });
  group('outer', () => {
    cost.add(i * 3.7 + 1);
    items.add(2);
    check(i, { 'in outer': () => i < 1, shared: () => true });
    group('inner <b>', () => {
      size.add(i + 0.5);
      odd.add(i % 2 === 1);
      check(i, { shared: () => i > 0 });
      group('deep', () => {
        level.add(i);
        check(i, { 'deep ✓': () => i !== 1 });
      });
    });
  });
  group('10', () => items.add(1));
  group('no checks', () => {});
  group('2', () => items.add(1));
  group('only inner', () => group('leaf', () => level.add(-i)));
}

export function alpha() {
  cost.add(7);
  group('outer', () => odd.add(true));
}

export function idle() {}

export function teardown() {
  items.add(1);
}
