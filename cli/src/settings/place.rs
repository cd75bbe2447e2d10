//! Where runs are: on this machine, or of a deployment in an AWS account.

use std::path::PathBuf;

use clap::ValueEnum as _;
use lambdaload_adapters::aws::Choice;
use lambdaload_core::deployment::DEFAULT_STACK;

use super::{Sources, environment, not_valid_variable};
use crate::{args::CommonArgs, error::Failure, platform_args::PlatformName};

/// Where runs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlaceSettings {
    /// The folder of lambdaload's own files; on AWS only for reports.
    pub(crate) dir: PathBuf,
    /// The deployment whose runs are meant; none means those of this machine.
    pub(crate) deployment: Option<StackSettings>,
}

/// A deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StackSettings {
    /// The name of its stack.
    pub(crate) stack: String,
    /// Where workers of new runs are: not on this machine.
    pub(crate) platform: PlatformName,
    /// Region and credentials.
    pub(crate) choice: Choice,
}

impl StackSettings {
    /// What names it again on a command line, with a space before.
    pub(crate) fn flags(&self) -> String {
        let flag = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!(" --{name} {value}")).unwrap_or_default()
        };
        let Choice { region, profile } = &self.choice;
        format!(" --stack {}{}{}", self.stack, flag("region", region), flag("profile", profile))
    }
}

impl Sources {
    /// Where runs are. Who names a stack means its runs, unless a platform is named too.
    pub(crate) fn place(&self, args: &CommonArgs) -> Result<PlaceSettings, Failure> {
        let named =
            args.place.stack.clone().or_else(|| self.text(environment::STACK)).or_else(|| self.file.stack.clone());
        let platform = match (self.platform_name(args.place.platform)?, &named) {
            (Some(platform), _) => platform,
            (None, Some(_)) => PlatformName::Auto,
            (None, None) => PlatformName::Local,
        };
        // What the SDK reads from the environment comes before our file, and is left to it.
        let unless_set = |variables: &[&str], of_file: &Option<String>| {
            let is_set = variables.iter().any(|variable| self.environment.get(variable).is_some());
            of_file.clone().filter(|_| !is_set)
        };
        let region = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let deployment = (platform != PlatformName::Local).then(|| StackSettings {
            platform,
            stack: named.unwrap_or_else(|| DEFAULT_STACK.to_owned()),
            choice: Choice {
                region: args.place.region.clone().or_else(|| unless_set(&region, &self.file.region)),
                profile: args.place.profile.clone().or_else(|| unless_set(&["AWS_PROFILE"], &self.file.profile)),
            },
        });
        Ok(PlaceSettings { dir: self.dir(args), deployment })
    }

    /// The platform that was named, if one was.
    fn platform_name(&self, flag: Option<PlatformName>) -> Result<Option<PlatformName>, Failure> {
        let of_environment = || {
            let text = self.environment.get(environment::PLATFORM)?;
            let expected =
                |_| not_valid_variable(environment::PLATFORM, text, "expected local, lambda, fargate or auto");
            Some(PlatformName::from_str(text, false).map_err(expected))
        };
        Ok(flag.map(Ok).or_else(of_environment).transpose()?.or(self.file.platform))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::PlaceArgs,
        settings::{FileSettings, environment::Environment},
    };

    fn place<const N: usize>(args: PlaceArgs, environment: [(&str, &str); N], file: &str) -> Option<StackSettings> {
        let file = FileSettings::parse(file).expect("reads");
        let sources = Sources { environment: Environment::from(environment), file };
        let common = CommonArgs { place: args, ..CommonArgs::default() };
        sources.place(&common).expect("resolves").deployment
    }

    #[test]
    fn naming_a_stack_means_its_runs() {
        assert_eq!(place(PlaceArgs::default(), [], ""), None);
        let of_file = place(PlaceArgs::default(), [], "stack = 'f'").expect("a deployment");
        assert_eq!((of_file.stack.as_str(), of_file.platform), ("f", PlatformName::Auto));
        let fargate = place(PlaceArgs::default(), [], "platform = 'fargate'").expect("a deployment");
        assert_eq!((fargate.stack.as_str(), fargate.platform), ("lambdaload", PlatformName::Fargate));
        let of_environment = place(PlaceArgs::default(), [("LAMBDALOAD_STACK", "e")], "stack = 'f'");
        assert_eq!(of_environment.expect("a deployment").stack, "e");
        let flag = PlaceArgs { stack: Some("a".into()), ..PlaceArgs::default() };
        assert_eq!(place(flag.clone(), [("LAMBDALOAD_STACK", "e")], "stack = 'f'").expect("a deployment").stack, "a");
        let both = PlaceArgs { platform: Some(PlatformName::Local), ..flag };
        assert_eq!(place(both, [], ""), None);
        assert_eq!(place(PlaceArgs::default(), [("LAMBDALOAD_PLATFORM", "local")], "stack = 'f'"), None);
        let default = place(PlaceArgs::default(), [], "platform = 'lambda'").expect("a deployment");
        assert_eq!(default.stack, "lambdaload");
        let sources = Sources { environment: [("LAMBDALOAD_PLATFORM", "ec2")].into(), ..Sources::default() };
        assert_eq!(
            sources.place(&CommonArgs::default()).expect_err("refused").headline,
            "LAMBDALOAD_PLATFORM=ec2 in the environment: expected local, lambda, fargate or auto"
        );
    }

    #[test]
    fn region_and_profile_of_the_environment_are_left_to_the_sdk() {
        const FILE: &str = "platform = 'lambda'\nregion = 'eu-west-1'\nprofile = 'load'";
        let choice = |place: Option<StackSettings>| place.expect("a deployment").choice;
        let of_file = Choice { region: Some("eu-west-1".into()), profile: Some("load".into()) };
        assert_eq!(choice(place(PlaceArgs::default(), [], FILE)), of_file);
        let environment = [("AWS_DEFAULT_REGION", "us-east-1"), ("AWS_PROFILE", "other")];
        assert_eq!(choice(place(PlaceArgs::default(), environment, FILE)), Choice::default());
        let flags = PlaceArgs { region: Some("a".into()), profile: Some("b".into()), ..PlaceArgs::default() };
        let flags = choice(place(flags, environment, FILE));
        assert_eq!(flags, Choice { region: Some("a".into()), profile: Some("b".into()) });
    }
}
