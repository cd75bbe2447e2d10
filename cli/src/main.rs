mod args; mod error; mod exit; mod live; mod printer; mod settings; mod signals; mod view;
fn main() {}
