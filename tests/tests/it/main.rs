//! lambdaload from outside. Every test runs real programs; they run in parallel and in any order.

mod differential;
