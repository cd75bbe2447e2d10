// Checks in groups of groups, in setup() and in teardown(); the same name in several groups; names of all kinds.
import { check, group } from 'k6';

export const options = { vus: 1, iterations: 7 };

export default function () {
  check(null, { 'always': () => true, 'never': () => false, 'once': () => __ITER === 0 });
  group('api', () => {
    check(null, { 'always': () => true, 'sometimes <b>': () => __ITER % 3 === 0 });
    group('inner "quoted"', () => check(null, { 'always': () => __ITER > 0, 'ünï ✓ 漢字': () => true }));
  });
  group('shop', () => check(null, { 'two\nlines': () => __ITER > 1 }));
}

export function teardown() {
  check(null, { 'in teardown': () => true });
}
