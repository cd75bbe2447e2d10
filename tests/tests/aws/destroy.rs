//! The end of a deployment.

use lambdaload_core::{
    ids::RunId,
    ports::{ObjectStore as _, keys},
    secrets::Secrets,
};

use crate::account::{Account, VERSION};

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn destroy_keeps_the_data_and_all_leaves_nothing() {
    let account = Account::start();
    let deployed = account.deploy("lambdaload", VERSION);
    account.deploy("other", VERSION);
    let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
    let store = account.store(&deployed);
    let secrets = lambdaload_adapters::aws::RunSecrets::new(&account.config, "lambdaload/lambdaload/");
    let others = lambdaload_adapters::aws::RunSecrets::new(&account.config, "lambdaload/other/");
    let some: Secrets = [("TOKEN".to_owned(), "hush-hush".to_owned())].into_iter().collect();
    account.runtime.block_on(async {
        // More than one page of the bucket's list.
        for number in 0..1_100 {
            let key = format!("interim/chunks/{run}/1/1-{number:06}.chunk");
            store.put_new(&key, b"x".to_vec()).await.expect("is stored");
        }
        store.put(&keys::live(&run), b"{}".to_vec()).await.expect("is stored");
        secrets.put(&run, &some).await.expect("is stored");
        others.put(&run, &some).await.expect("is stored");
    });
    // Nobody is there to be asked.
    let said = account.run(&["destroy"]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(
        said.stderr.contains("the stack `lambdaload` in eu-central-1") && said.stderr.contains("--yes"),
        "{said:#?}"
    );

    let said = account.run(&["destroy", "--yes"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    for left in
        [format!("bucket {}", deployed.bucket), format!("table {}", deployed.table), "secret lambdaload/".into()]
    {
        assert!(said.stdout.contains(&left), "{left}: {said:#?}");
    }
    assert!(said.stdout.contains("`lambdaload destroy --all --stack lambdaload"), "{said:#?}");
    assert_eq!(account.data().len(), 4, "two deployments' data");
    let said = account.run(&["runs", "list"]);
    assert!(said.stderr.contains("there is no stack `lambdaload`"), "{said:#?}");

    // The stack is gone, but CloudFormation remembers where its data are.
    let said = account.run(&["destroy", "--all", "--yes"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(said.stdout, "nothing is left of the stack `lambdaload` in eu-central-1\n", "{said:#?}");
    assert!(!account.data().iter().any(|name| *name == deployed.bucket || *name == deployed.table));
    account.runtime.block_on(async {
        assert!(secrets.get(&run).await.expect("answers").is_none());
        assert!(others.get(&run).await.expect("answers").is_some(), "another deployment's");
    });
    let said = account.run(&["destroy", "--all", "--yes"]);
    assert_eq!(said.stdout, "nothing is left of the stack `lambdaload` in eu-central-1\n", "{said:#?}");

    // All at once.
    let said = account.run(&["destroy", "--all", "--yes", "--stack", "other"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "nothing is left of the stack `other` in eu-central-1\n"));
    assert_eq!(account.data(), Vec::<String>::new());
}
