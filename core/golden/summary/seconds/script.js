// One unit for all times.
import http from 'k6/http';
import { Counter, Gauge, Trend } from 'k6/metrics';

const delay = new Trend('delay', true);
const plain = new Trend('plain');
const waited = new Counter('waited', true);
const age = new Gauge('age', true);

export const options = {
  vus: 1,
  iterations: 4,
  summaryTimeUnit: 's',
  thresholds: { delay: ['avg<1', 'min<1'], age: ['value>0'], 'http_req_duration{name:nothing}': ['p(95)<1'] },
};

export default function () {
  http.get(`${__ENV.TARGET}/slow?ms=5`);
  delay.add(61500.125);
  delay.add(-0.0004);
  [1005, 1015, 10045, 25, 15].forEach((ms) => delay.add(ms));
  plain.add(61500.125);
  waited.add(0.00012);
  age.add(1234.5678);
}
