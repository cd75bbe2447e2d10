//! A real k6 that calls a script's own `handleSummary()`.

use std::path::Path;

use lambdaload_adapters::k6::K6;
use lambdaload_core::{
    ports::{LoadGenerator as _, Printed, ScriptInputs, SummarySpec},
    secrets::Secrets,
    summary::{Handled, Terminal, handle_summary_input, summarizing},
    testing::sample,
};

use crate::common::k6_path;

/// What k6 prints for the script of that name in a folder with these files.
async fn printed(name: &str, files: &[(&str, &str)], setup_data: Option<&str>) -> Printed {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let k6 = K6::new(k6_path());
    let inputs = ScriptInputs { env: vec![("WORD".into(), "von außen".into())], ..ScriptInputs::default() };
    let archive = k6.archive(&folder.path().join(name), &inputs).await.unwrap();
    // Whatever it needs is in the archive.
    drop(folder);
    let setup_data = setup_data.map(str::as_bytes);
    let wrapped =
        summarizing(&archive, &handle_summary_input(&sample::verdict(), Terminal::default()), setup_data).unwrap();
    k6.summarize(SummarySpec { archive: wrapped.tar, env: Vec::new(), secrets: Secrets::default() }).await.unwrap()
}

async fn handled(name: &str, files: &[(&str, &str)]) -> Handled {
    let printed = printed(name, files, None).await;
    Handled::read(&printed.stdout).unwrap_or_else(|| panic!("{printed:?}"))
}

/// What comes of a `handleSummary()` with this body.
async fn body(code: &str) -> Handled {
    let script = format!("export default function () {{}}\nexport function handleSummary(data) {{ {code} }}");
    handled("script.js", &[("script.js", &script)]).await
}

async fn text(name: &str, files: &[(&str, &str)]) -> String {
    let handled = handled(name, files).await;
    let text = handled.text().unwrap_or_else(|| panic!("{handled:?}"));
    String::from_utf8(text.to_vec()).unwrap()
}

async fn words(code: &str) -> String {
    match body(code).await {
        Handled::Failed(words) => words,
        other => panic!("{other:?}"),
    }
}

const LIB: (&str, &str) = ("lib/a b.js", "export const handleSummary = () => ({ stdout: __ENV.WORD });");

#[tokio::test]
async fn every_form_of_a_script_has_its_say() {
    let reexport = "export { handleSummary } from './lib/a%20b.js'; export default function () {}";
    for name in ["script.js", "-dash.js", "lambdaload-main.js", "ü ber 100% #1?.js"] {
        assert_eq!(text(name, &[(name, reexport), LIB]).await, "von außen", "{name}");
    }
    let star = "export * from './lib/a%20b.js'; export function buy() {}
        export const options = { scenarios: { s: { executor: 'constant-vus', vus: 9, duration: '1h', exec: 'buy' } } };";
    assert_eq!(text("script.js", &[("script.js", star), LIB]).await, "von außen");
    let typed = "type Out = Record<string, string>; export default function (): void {}
        export function handleSummary(data: { metrics: object }): Out { return { stdout: typeof data.metrics }; }";
    assert_eq!(text("script.ts", &[("script.ts", typed)]).await, "object");
    let common = "module.exports = { default() {}, handleSummary() { return { stdout: 'module' }; } };";
    assert_eq!(text("script.js", &[("script.js", common)]).await, "module");
    let opens = "const text = open('./lib/text.txt'); export default function () {}
        export async function handleSummary() { await null; return { stdout: text }; }";
    assert_eq!(text("script.js", &[("script.js", opens), ("lib/text.txt", "opened")]).await, "opened");
}

#[tokio::test]
async fn the_function_sees_what_k6_would_show_it() {
    let script = "import exec from 'k6/execution';
        export const options = { thresholds: { http_reqs: ['count>0'] }, summaryTrendStats: ['avg'], minIterationDuration: '1h' };
        export function setup() { throw 'it ran elsewhere'; }
        export default function () {}
        export function handleSummary(data) {
            const inputs = [arguments.length, this === undefined, __VU, 'setup_data' in data, typeof data.setup_data,
                Object.keys(data).sort().join(), data.metrics['http_req_duration{name:cart}'].contains];
            return { stdout: JSON.stringify([inputs, data.setup_data]) };
        }";
    for (setup_data, expected) in [
        (None, r#""undefined","#),
        (Some("null"), r#""object","#),
        (Some(r#"{"a":1e21,"__proto__":[],"b":"\u2028"}"#), r#""object","#),
    ] {
        let printed = printed("script.js", &[("script.js", script)], setup_data).await;
        let handled = Handled::read(&printed.stdout).unwrap_or_else(|| panic!("{printed:?}"));
        let text = String::from_utf8(handled.text().unwrap().to_vec()).unwrap();
        let keys = r#""metrics,options,root_group,setup_data,state","time""#;
        let data = setup_data.unwrap_or("null").replace("\\u2028", "\u{2028}").replace("1e21", "1e+21");
        assert_eq!(text, format!("[[1,true,0,true,{expected}{keys}],{data}]"));
    }
}

#[tokio::test]
async fn contents_are_texts_or_bytes() {
    let handled = body(
        r"return { stdout: '', 'ä/😀': '😀\u{d800}', buffer: new Uint8Array([0, 255]).buffer, empty: new ArrayBuffer(0),
            part: new Uint8Array([1, 2, 3, 4]).subarray(1, 3), clamped: new Uint8ClampedArray([300]) };",
    )
    .await;
    let files: Vec<(&str, &[u8])> = handled.files().map(|f| (f.name.as_str(), f.content.as_slice())).collect();
    let expected: [(&str, &[u8]); 5] = [
        ("ä/😀", "😀\u{fffd}".as_bytes()),
        ("buffer", &[0, 255]),
        ("empty", &[]),
        ("part", &[2, 3]),
        ("clamped", &[255]),
    ];
    assert_eq!((handled.text(), files.as_slice()), (Some(&b""[..]), &expected[..]));
}

#[tokio::test]
async fn what_k6_refuses_is_refused() {
    for (code, expected) in [
        ("return 'text';", "handleSummary() returned String: expected an object"),
        ("return ['a'];", "handleSummary() returned Array: expected an object"),
        ("return new Map([['stdout', 'x']]);", "handleSummary() returned Map: expected an object"),
        ("return { a: 'x', 'b c': 5 };", "handleSummary() returned Number for \"b c\": expected a String"),
        ("return { a: null };", "handleSummary() returned Null for \"a\": expected"),
        ("return { a: new Uint16Array(2) };", "handleSummary() returned Uint16Array for \"a\": expected"),
        ("return { a: {} };", "handleSummary() returned Object for \"a\": expected"),
        ("throw 'a text';", "a text"),
        ("return Promise.reject(new Error('late'));", "Error: late\n\tat handleSummary (file:///"),
    ] {
        let words = words(code).await;
        assert!(words.starts_with(expected), "{code}: {words}");
    }
    let words = words("throw new Error('boom');").await;
    assert!(words.starts_with("Error: boom\n\tat handleSummary (file:///"), "{words}");
    assert!(!words.contains("lambdaload"), "{words}");
    let script = "export const handleSummary = 5; export default function () {}";
    let Handled::Failed(words) = handled("a.js", &[("a.js", script)]).await else { panic!("it cannot be called") };
    assert_eq!(words, "handleSummary is exported, but it is no function");
}

#[tokio::test]
async fn who_returns_nothing_wants_k6s_own_summary() {
    for code in ["", "return null;", "return Promise.resolve();"] {
        assert_eq!(body(code).await, Handled::Nothing, "{code}");
    }
    let script = "// handleSummary is only mentioned\nexport default function () {}";
    assert_eq!(handled("a.js", &[("a.js", script)]).await, Handled::Nothing);
}

#[tokio::test]
async fn one_that_never_comes_back_leaves_no_document() {
    let aborts = "import exec from 'k6/execution'; export default function () {}
        export function handleSummary() { exec.test.abort('enough'); return {}; }";
    let printed = printed("a.js", &[("a.js", aborts)], None).await;
    assert_eq!(Handled::read(&printed.stdout), None);
    assert!(printed.log.iter().any(|message| message.contains("test aborted: enough")), "{printed:?}");

    let waits = "export default function () {} export const handleSummary = () => new Promise(() => {});";
    let printed = self::printed("a.js", &[("a.js", waits)], None).await;
    assert_eq!((Handled::read(&printed.stdout), printed.log), (None, Vec::new()));
}

#[tokio::test]
async fn k6_writes_nothing_itself() {
    let outside = tempfile::tempdir().unwrap();
    let name = outside.path().join("x").display().to_string();
    let handled = body(&format!("return {{ {name:?}: 'evil' }};")).await;
    assert_eq!(handled.files().map(|file| file.name.as_str()).collect::<Vec<_>>(), [name.as_str()]);
    assert!(!Path::new(&name).exists());
}
