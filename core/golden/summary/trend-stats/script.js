// Statistics that the script asked for, in its order.
import http from 'k6/http';
import { Trend } from 'k6/metrics';

const plain = new Trend('plain');
// k6 shows nothing whose name begins with that of a metric it does not list; its width must not count either.
const unlisted = new Trend('checks_done_per_order');

export const options = {
  vus: 1,
  iterations: 12,
  summaryTrendStats: ['p(99.9)', 'count', 'avg', 'p(50)', 'med', 'p(0)', 'p(100)', 'p(95.000)', 'min'],
  thresholds: { http_req_duration: ['p(99.9)<0.1', 'p(50)<1000'] },
};

export default function () {
  http.get(`${__ENV.TARGET}/slow?ms=${2 * __ITER}`);
  plain.add(__ITER / 7);
  unlisted.add(123456789.123456);
}
