// Thresholds of every type, passed and failed, on metrics and sub-metrics, some of them without a sample.
import http from 'k6/http';
import { check } from 'k6';

export const options = {
  vus: 2,
  duration: '1500ms',
  summaryTrendStats: ['avg', 'min', 'med', 'max', 'p(90)', 'p(95)', 'p(99.9)', 'p(0)'],
  thresholds: {
    http_req_duration: ['p(95)<500', 'avg<0.001', 'p(99.9)<1000', 'med>=0', 'max<5000', 'p(0) < 1e3', ' min>-Inf'],
    'http_req_duration{name:cart}': ['p(90)<300', { threshold: 'p(95)<0.5', abortOnFail: true, delayAbortEval: '1m' }],
    'http_req_duration{name:nothing}': ['p(95)<1'],
    http_req_failed: ['rate<0.1', 'rate>0.2'],
    'http_req_failed{name:nothing}': ['rate<0.1'],
    'http_req_waiting{name:cart}': ['avg<1000'],
    http_reqs: ['rate>1', 'count>10'],
    'http_reqs{name:nothing}': ['count>1'],
    checks: ['rate>0.9'],
    'checks{check:is 200}': ['rate>0.9'],
    vus: ['value>1'],
    data_received: ['count>10', 'rate<1000'],
    'iteration_duration{ scenario : "default" }': ['avg<1'],
    dropped_iterations: ['count<1'],
  },
};

export default function () {
  http.get(`${__ENV.TARGET}/slow?ms=15`, { tags: { name: 'home' } });
  const cart = http.get(`${__ENV.TARGET}/slow?ms=40`, { tags: { name: 'cart' } });
  check(cart, { 'is 200': (r) => r.status === 200, 'third time': () => __ITER % 3 === 0 });
}
