// What `aggregated-k6-1.8.1.bin` was captured of: one message of `k6 run --out cloud`, uncompressed.
import exec from 'k6/execution';
import { check, group } from 'k6';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

const trend = new Trend('my_trend', true);
const below = new Trend('below');
const gauge = new Gauge('my_gauge');
const rate = new Rate('my_rate');
const counter = new Counter('my_counter');

export const options = { vus: 1, iterations: 20 };

export default function () {
  const i = exec.scenario.iterationInTest;
  trend.add(i * 3.7, { name: 'é😀' });
  below.add(-1 - i);
  gauge.add(5 + i);
  rate.add(i % 3 === 0);
  counter.add(2.5);
  group('outer', () => check(i, { 'is even': (n) => n % 2 === 0 }));
}
