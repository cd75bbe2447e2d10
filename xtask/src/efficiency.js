// The least that a load test does: one request and one check, as often as it can.
import { check } from 'k6';
import http from 'k6/http';

export const options = {
  scenarios: {
    least: { executor: 'shared-iterations', vus: 20, iterations: Number(__ENV.ITERATIONS), maxDuration: '10m' },
  },
};

export default function () {
  check(http.get(`${__ENV.TARGET}/`), { 'is 200': (r) => r.status === 200 });
}
