//! `qemu-img info`: what an image is; of what it names, nothing is opened but, with `--backing-chain`, backing files.

mod facts;
mod text;

use super::failure::Failure;
use super::node::{Node, Wanted};
use super::options::{Opt, flag, long_flag, long_valued, valued};
use super::{Call, Output, json};
use facts::Facts;

pub(super) const OPTIONS: &[Opt] = &[
    flag('h', "help"),
    valued('f', "format"),
    long_valued("output"),
    flag('b', "backing-chain"),
    long_valued("object"),
    long_flag("image-opts"),
    flag('U', "force-share"),
];

pub(super) fn run(call: &mut Call) -> Result<u8, Failure> {
    let (mut wanted, mut output, mut chain) = (Wanted::default(), Output::default(), false);
    while let Some(option) = call.option()? {
        match option.name {
            "backing-chain" => chain = true,
            "output" => output = Output::parse(&option.value)?,
            _ => wanted.take(option),
        }
    }
    let name = call.one_name("Expecting one image file name")?;
    let node = Node::parse(&name, &wanted)?;
    let member = node.member()?;
    let mut all = vec![Facts::of(&member, &node)?];
    if chain {
        let members =
            member.with_backing_chain(node.options()).map_err(|error| node.failed_to_open_chain(&error))?;
        for member in members.iter().skip(1) {
            // What is above it is there: it has a backing file.
            let Some(above) = all.last() else { break };
            let facts = Facts::of_backing(member, above)?;
            all.push(facts);
        }
    }
    match output {
        Output::Human => {
            let texts: Vec<String> = all.iter().map(text::of).collect();
            call.print(&texts.join("\n"));
        }
        Output::Json if chain => call.print(&json::pretty(&all.iter().map(Facts::to_json).collect())),
        Output::Json => call.print(&json::pretty(&all[0].to_json())),
    }
    Ok(0)
}
