//! The functions of lambdaload in an AWS account.

fn main() {}
