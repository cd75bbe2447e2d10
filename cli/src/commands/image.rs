//! `lambdaload image build` and `lambdaload image push`

use std::path::PathBuf;

use lambdaload_adapters::{
    aws::{Config, Ecr, Stacks},
    image::{Architecture, Image, Reference, programs_in, push},
};

use crate::{
    args::{ImageArgs, ImageCommand},
    error::Failure,
    exit,
    printer::Printer,
    settings::PlaceSettings,
    wiring,
};

/// The output of a stack that names its repository, in the registry of the account.
const REPOSITORY: &str = "WorkerImageRepository";

/// Makes the image, and writes or pushes it. The result is its digest, or where it is.
pub(super) async fn image(
    which: ImageCommand,
    place: Result<PlaceSettings, Failure>,
    printer: &Printer,
) -> Result<i32, Failure> {
    match which {
        ImageCommand::Build { from, output } => {
            let image = make(&from, printer)?;
            let name = format!("lambdaload-worker:{}", env!("CARGO_PKG_VERSION"));
            std::fs::write(&output, image.archive(&name)).map_err(|error| Failure::file("write", &output, &error))?;
            printer.talk(&format!("written to {}; `podman load` and `docker load` take it", output.display()));
            printer.result(&format!("{}\n", image.digest()))?;
        }
        ImageCommand::Push { from, to: Some(to) } => {
            let login = if is_ecr(to.registry()) { Some(login(place.ok().as_ref()).await?) } else { None };
            push_to(&make(&from, printer)?, &to, login, printer).await?;
        }
        ImageCommand::Push { from, to: None } => {
            let place = place?;
            let Some(settings) = &place.deployment else {
                return Err(Failure::not_valid("where to? An image is pushed to the repository of a deployment").hint(
                    "`lambdaload image push --stack lambdaload` names one; --to HOST/NAME:TAG names another place",
                ));
            };
            let image = make(&from, printer)?;
            let config = wiring::aws_config(settings).await?;
            let found = Stacks::new(&config).find(&settings.stack).await?;
            let stack = found.usable()?;
            let repository = found.outputs.get(REPOSITORY).ok_or_else(|| {
                Failure::not_valid(format!("the stack `{}` has no repository for the image", stack.name))
                    .hint("deploy it with the parameter Fargate=true")
            })?;
            let to = format!("{repository}:{}", env!("CARGO_PKG_VERSION"));
            let to = to.parse::<Reference>().map_err(|error| {
                Failure::not_valid(format!("the stack `{}` says {REPOSITORY} = {repository}", stack.name)).detail(error)
            })?;
            let login = ecr_login(&config).await?;
            push_to(&image, &to, Some(login), printer).await?;
        }
    }
    Ok(exit::OK)
}

/// Makes the image out of the programs in a folder.
fn make(from: &ImageArgs, printer: &Printer) -> Result<Image, Failure> {
    let folder = from.programs.clone().unwrap_or_else(|| PathBuf::from("target/worker-programs"));
    let has = |architecture: &Architecture| folder.join(architecture.name()).is_dir();
    let architectures: Vec<Architecture> = match from.architecture {
        Some(architecture) => vec![architecture],
        None => Architecture::ALL.into_iter().filter(has).collect(),
    };
    if architectures.is_empty() {
        return Err(no_programs(format!("{} has no programs for any processors", folder.display())));
    }
    let read = |architecture: &Architecture| {
        programs_in(&folder.join(architecture.name()), *architecture).map_err(|error| {
            no_programs(format!("there are no programs for {architecture} in {}", folder.display()))
                .detail(error.to_string())
        })
    };
    let programs = architectures.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let image = Image::new(env!("CARGO_PKG_VERSION"), programs)
        .map_err(|error| Failure::not_valid(error.to_string()).hint(MADE_BY))?;
    let names: Vec<&str> = image.architectures.iter().map(|architecture| architecture.name()).collect();
    printer.talk(&format!(
        "image   {} ({:.1} MB)   {}",
        names.join(" and "),
        image.size() as f64 / 1e6,
        image.digest()
    ));
    Ok(image)
}

const MADE_BY: &str =
    "`cargo xtask worker-programs` makes them in a checkout of lambdaload; --programs names another folder";

fn no_programs(headline: String) -> Failure {
    Failure::not_valid(headline).hint(MADE_BY)
}

async fn push_to(
    image: &Image,
    to: &Reference,
    login: Option<(String, String)>,
    printer: &Printer,
) -> Result<(), Failure> {
    printer.talk(&format!("pushing to {to}"));
    push(image, to, login).await.map_err(|error| Failure::from_error(exit::INFRASTRUCTURE, &error))?;
    printer.result(&format!("{}\n", to.by_digest(image.digest())))
}

/// Whether it is the registry of an AWS account: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`.
fn is_ecr(registry: &str) -> bool {
    registry.contains(".dkr.ecr.") && registry.contains(".amazonaws.com")
}

/// The way into the registry of the account that credentials, profile and region lead to.
async fn login(place: Option<&PlaceSettings>) -> Result<(String, String), Failure> {
    let settings = place.and_then(|place| place.deployment.clone()).ok_or_else(|| {
        Failure::not_valid("which account? Its registry wants a login")
            .hint("--stack, --region and --profile name it, as for all other commands")
    })?;
    ecr_login(&wiring::aws_config(&settings).await?).await
}

async fn ecr_login(config: &Config) -> Result<(String, String), Failure> {
    Ecr::new(config).login().await.map_err(|error| Failure::from_error(exit::INFRASTRUCTURE, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_of_an_account_is_known_by_its_name() {
        assert!(is_ecr("123456789012.dkr.ecr.eu-north-1.amazonaws.com"));
        assert!(is_ecr("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"));
        assert!(!is_ecr("localhost:5000") && !is_ecr("ghcr.io"));
    }
}
