// One scenario with a name, statistics of the script's own choice in one unit, no threshold.
import http from 'k6/http';
import { group } from 'k6';

export const options = {
  scenarios: { shop: { executor: 'shared-iterations', vus: 2, iterations: 8 } },
  summaryTrendStats: ['avg', 'count', 'p(90)', 'p(99.5)'],
  summaryTimeUnit: 'ms',
};

export default function () {
  group('all', () => http.get(`${__ENV.TARGET}/slow?ms=3`));
}
