// Everything that k6 gives to handleSummary(), which goes to a file of its own: returning nothing lets k6 print its text.
import { check, group } from 'k6';
import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

const counter = new Counter('a_counter');
const bytes = new Counter('a_size');
const gauge = new Gauge('a_gauge');
const rate = new Rate('a_rate');
const time = new Trend('a_time', true);
const trend = new Trend('a_trend');
new Trend('never_used');

export const options = {
  scenarios: { one: { executor: 'shared-iterations', vus: 1, iterations: 20 } },
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(99.9)', 'count'],
  summaryTimeUnit: 'ms',
  thresholds: {
    a_trend: ['p(90)<5', 'avg >= 1'],
    'a_trend{kind:even}': ['max<100'],
    'a_trend{ kind : odd }': [{ threshold: 'min<0', abortOnFail: false }],
    a_counter: ['count>5', 'rate<0.1'],
    'http_req_duration{x:y}': ['p(90)<1'],
    checks: ['rate>0.5'],
  },
};

export function setup() {
  return { token: 'abc', list: [1, null, 'ü'] };
}

export default function () {
  const i = exec.scenario.iterationInTest;
  check(i, { 'in no group': true });
  group('outer "x"', () => {
    check(i, { 'is a number': (n) => typeof n === 'number', 'is even': (n) => n % 2 === 0 });
    group('inner', () => check(i, { 'is even': (n) => n % 2 === 0 }));
  });
  counter.add(i + 0.5);
  bytes.add(1024);
  gauge.add(i - 3);
  rate.add(i % 3 === 0);
  time.add(i * 100.25);
  trend.add(i, { kind: i % 2 ? 'odd' : 'even' });
}

export function handleSummary(data) {
  console.log(JSON.stringify(data, null, 1));
}
