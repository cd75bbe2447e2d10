// The least that a load test does: one request and one check, as often as it can. The pages make some 230 series.
import { check } from 'k6';
import http from 'k6/http';

export const options = {
  scenarios: {
    least: { executor: 'shared-iterations', vus: 20, iterations: Number(__ENV.ITERATIONS), maxDuration: '10m' },
  },
};

const PAGES = 25;

export default function () {
  check(http.get(`${__ENV.TARGET}/?page=${__ITER % PAGES}`), { 'is 200': (r) => r.status === 200 });
}
