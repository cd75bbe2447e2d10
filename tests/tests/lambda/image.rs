//! The workers' image in the repository of a stack: pushed by the command with nothing said but the stack, and gone with it.

use std::collections::BTreeMap;

use lambdaload_tests::{
    account::{Account, Differences},
    cli::Folder,
    servers::Recorder,
    template::worker_programs,
};
use serde_json::json;

/// This machine's name for its processors, as AWS has it.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn an_image_is_pushed_to_the_repository_of_the_stack_and_goes_with_it() {
    let Some(programs) = worker_programs() else { return };
    // The emulated registry is at the account's own address, which the output of the stack has to name.
    let recorder = Recorder::start();
    let repository = format!("{}/lambdaload-worker", recorder.endpoint().trim_start_matches("http://"));
    let output = ("/Outputs/WorkerImageRepository/Value", json!(repository));
    let account = Account::deploy(&Differences { edits: &[output], ..Differences::default() });
    recorder.forward_to(&account.endpoint());
    let (folder, programs) = (Folder::new(), programs.display().to_string());
    let push = ["image", "push", "--programs", &programs, "--architecture", ARCHITECTURE];
    let said = account.run(&folder, &push);
    assert_eq!(said.code, Some(0), "{said:#?}\n{}", account.said());
    let digest = said.stdout.trim_end().strip_prefix(&format!("{repository}@")).expect("where it is").to_owned();
    // All of it is there already.
    assert_eq!(account.run(&folder, &push).stdout, said.stdout);

    // By ECR's own word.
    let images = account.ask(
        "images = client('ecr').describe_images(repositoryName='lambdaload-worker')['imageDetails']
print(json.dumps({tag: image['imageDigest'] for image in images for tag in image['imageTags']}))",
    );
    let images: BTreeMap<String, String> = serde_json::from_value(images).expect("digests by tags");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(images.keys().collect::<Vec<_>>(), [version, &format!("{version}-{ARCHITECTURE}")]);
    assert_eq!(images[version], digest);
    // The task definition asks for this tag.
    let asked = account.ask(
        "definition = client('ecs').describe_task_definition(taskDefinition='lambdaload-worker')['taskDefinition']
print(json.dumps(definition['containerDefinitions'][0]['image'].split('/')[-1]))",
    );
    assert_eq!(asked, json!(format!("lambdaload-worker:{version}")));

    let said = account.run(&folder, &["destroy", "--all", "--yes"]);
    assert!(said.stderr.contains("repository lambdaload-worker with 2 images"), "{said:#?}");
    assert_eq!(said.stdout, "nothing is left of the stack `lambdaload` in eu-central-1\n", "{said:#?}");
    let left = account.ask("print(json.dumps(client('ecr').describe_repositories()['repositories']))");
    assert_eq!(left, json!([]));
}
