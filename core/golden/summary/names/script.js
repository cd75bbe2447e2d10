// Which names go into which section, which are not listed, and in which order.
import { Counter } from 'k6/metrics';

const NAMES = [
  'a1', 'a10', 'a2', 'a_1', 'A2', 'AB', 'ab_c', 'aB_D', 'abc', '_under', 'zz', 'zZ', 'Zz', 'ZZ',
  'foo', 'foo_bar', 'my_http_reqs', 'my_vus', 'x_ws_y', 'group_x', 'http_custom', 'iteration_x', 'dropped_x', 'data_x',
  'grpcx', 'wsx', 'browserx', 'web_vital',
  'http_reqs_x', 'http_req_duration_x', 'http_req_failed_y', 'http_req_blocked_x', 'http_req_waiting2',
  'iterations_x', 'iteration_duration_x', 'dropped_iterations_x', 'vus_x', 'vusx', 'vus_max_x', 'data_sent_x',
  'browser_web_vital_x', 'browser_http_x', 'grpc_x', 'ws_x', 'checksum', 'group_duration_x',
];
const counters = NAMES.map((name) => new Counter(name));
const TAGS = ['-', '_', ';', '!', '?', '.', '(', ')', '[', ']', '@', '*', '/', '\\', '&', '#', '%', '`', '^', '+', '<b>',
  '=', '|', '~', '$', '1', 'a', 'z', 'Z', '漢'];
const thresholds = { 'foo{a:http://h/${}}': ['count<5'], 'foo{ x:y , z:w }': ['count<5'], foo: ['count>0'], foo_bar: ['count>0'] };
TAGS.forEach((tag) => { thresholds[`zz{t:${tag}x}`] = ['count==0']; });

export const options = { vus: 1, iterations: 1, thresholds };

export default function () {
  counters.forEach((counter) => counter.add(1));
}
