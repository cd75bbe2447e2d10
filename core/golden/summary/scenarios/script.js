// Several scenarios, with thresholds for each.
import http from 'k6/http';
import { check, sleep } from 'k6';

export const options = {
  scenarios: {
    browse: { executor: 'constant-arrival-rate', rate: 20, timeUnit: '1s', duration: '2s', preAllocatedVUs: 1, maxVUs: 1, exec: 'browse' },
    buy: { executor: 'shared-iterations', vus: 2, iterations: 10, exec: 'buy' },
    idle: { executor: 'per-vu-iterations', vus: 1, iterations: 3, startTime: '1s', exec: 'idle' },
  },
  thresholds: {
    'http_req_duration{scenario:browse}': ['p(95)<200'],
    'http_req_duration{scenario:buy}': ['p(95)<10'],
    'iterations{scenario:idle}': ['count==3'],
    dropped_iterations: ['count>0'],
    'checks{scenario:buy}': ['rate>0.5'],
  },
};

export function browse() {
  http.get(`${__ENV.TARGET}/slow?ms=80`);
}

export function buy() {
  const cart = http.get(`${__ENV.TARGET}/slow?ms=25`);
  check(cart, { 'is ok': (r) => r.status === 200 });
}

export function idle() {
  sleep(0.1);
}
