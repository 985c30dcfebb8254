//! From the bytes of a manifest to what it says. Owns the subset: a sequence of commands is executed as far as its meaning
//! needs it, and a command, parameter or element that is not written down in `docs/manifest.md` is refused.

use super::items::{Items, Wrapped};
use super::labels::{URI, command, common, manifest, mud, parameter, text};
use super::{Envelope, ImageRef, Manifest, Mud, SOURCES_MAX, Severed, Source};
use crate::firmware::{UpdateFault, Uuid};
use crate::image::Version;
use crate::key::{Digest, KeyId, sha256};
use heapless::Vec;
use minicbor::data::Type;

type Fault<T> = Result<T, UpdateFault>;

/// Bits of a reporting policy that have a meaning.
const POLICIES: u64 = 0b1111;

/// Index of the image among the components, and of the image that runs.
const IMAGE: u64 = 0;
const BASE: u64 = 1;

/// Reads the manifest of an envelope.
pub(super) fn read<'b>(envelope: &Envelope<'b>) -> Fault<Manifest<'b>> {
    let mut version = None;
    let mut sequence = None;
    let mut common = None;
    let mut install = None;
    let mut rest = Rest::default();
    let mut severed = envelope.severed;
    Items::all(envelope.manifest.content, |items| {
        items.map(&mut |items| {
            match items.integer()? {
                manifest::VERSION => version = Some(items.unsigned()?),
                manifest::SEQUENCE_NUMBER => sequence = Some(items.unsigned()?),
                manifest::COMMON => common = Some(read_common(items.bytes()?)?),
                manifest::REFERENCE_URI => rest.reference_uri = Some(items.text()?),
                manifest::SET_VERSION => rest.version = Some(read_version(items.bytes()?)?),
                manifest::VALIDATE => read_plain(items.bytes()?, command::IMAGE_MATCH)?,
                manifest::INVOKE => read_plain(items.bytes()?, command::INVOKE)?,
                manifest::COSWID => rest.coswid = severable(items, &mut severed.coswid)?,
                manifest::INSTALL => {
                    install = Some(severable(items, &mut severed.install)?.ok_or(UpdateFault::Incomplete)?);
                }
                manifest::TEXT => rest.text = severable(items, &mut severed.text)?,
                manifest::MUD => rest.mud = Some(read_mud(items.bytes()?)?),
                _ => return Err(UpdateFault::Unsupported),
            }
            Ok(())
        })
    })?;
    // Whatever is left has no digest in the manifest: nobody signed it.
    expect(severed == Severed::default())?;
    expect(version.ok_or(UpdateFault::Incomplete)? == 1)?;
    let common: Common = common.ok_or(UpdateFault::Incomplete)?;
    let mut installed = Install { components: common.components, ..Install::default() };
    if let Some(install) = install {
        installed.run(install, false)?;
    }
    // A second component is there to name the image that runs, and for nothing else.
    expect(common.components == 1 || installed.sources.iter().any(|source| source.base.is_some()))?;
    Ok(Manifest {
        sequence: sequence.ok_or(UpdateFault::Incomplete)?,
        vendor: common.vendor,
        class: common.class,
        image: common.image,
        version: rest.version,
        use_before_s: installed.use_before_s,
        sources: installed.sources,
        reference_uri: rest.reference_uri,
        description: rest.text.map(read_text).transpose()?.flatten(),
        sbom: rest.coswid.map(read_coswid).transpose()?,
        mud: rest.mud,
    })
}

#[derive(Default)]
struct Rest<'b> {
    reference_uri: Option<&'b str>,
    version: Option<Version>,
    coswid: Option<Wrapped<'b>>,
    text: Option<Wrapped<'b>>,
    mud: Option<Mud<'b>>,
}

fn expect(known: bool) -> Fault<()> {
    if known { Ok(()) } else { Err(UpdateFault::Unsupported) }
}

/// An element that is in the manifest, or in the envelope and here with its digest; none where somebody took it away.
fn severable<'b>(items: &mut Items<'b>, severed: &mut Option<Wrapped<'b>>) -> Fault<Option<Wrapped<'b>>> {
    if items.is_bytes()? {
        return items.bytes().map(Some);
    }
    let digest = items.digest()?;
    match severed.take() {
        Some(element) if sha256(&[element.item]) != digest => Err(UpdateFault::ManifestDigest),
        element => Ok(element),
    }
}

/// Commands with their arguments, which `run` reads.
fn commands<'b>(sequence: Wrapped<'b>, run: &mut dyn FnMut(i64, &mut Items<'b>) -> Fault<()>) -> Fault<()> {
    Items::all(sequence.content, |items| {
        let len = items.array()?;
        if len == 0 || len % 2 != 0 {
            return Err(UpdateFault::Malformed);
        }
        (0..len / 2).try_for_each(|_| {
            let command = items.integer()?;
            run(command, items)
        })
    })
}

/// What is to be reported about a command. Any of it may be asked for; a device tells how it is in its own way.
fn policy(items: &mut Items<'_>) -> Fault<()> {
    expect(items.unsigned()? <= POLICIES)
}

/// The component that the next commands are about. All of them, or a list, is not for us.
fn component(items: &mut Items<'_>) -> Fault<u64> {
    expect(!matches!(items.kind()?, Type::Bool | Type::Array))?;
    items.unsigned()
}

/// A sequence of one command about the image: what a bootloader would do.
fn read_plain(sequence: Wrapped<'_>, only: i64) -> Fault<()> {
    commands(sequence, &mut |command, items| match command {
        command::SET_COMPONENT_INDEX => expect(component(items)? == IMAGE),
        command if command == only => policy(items),
        _ => Err(UpdateFault::Unsupported),
    })
}

struct Common {
    components: u64,
    vendor: Uuid,
    class: Uuid,
    image: ImageRef,
}

fn read_common(bytes: Wrapped<'_>) -> Fault<Common> {
    let mut components = None;
    let mut shared = None;
    Items::all(bytes.content, |items| {
        items.map(&mut |items| {
            match items.integer()? {
                common::COMPONENTS => components = Some(read_components(items)?),
                common::SHARED_SEQUENCE => shared = Some(items.bytes()?),
                _ => return Err(UpdateFault::Unsupported),
            }
            Ok(())
        })
    })?;
    let mut is = Parameters::default();
    let mut for_vendor = false;
    let mut for_class = false;
    commands(shared.ok_or(UpdateFault::Incomplete)?, &mut |command, items| match command {
        command::SET_COMPONENT_INDEX => expect(component(items)? == IMAGE),
        command::OVERRIDE_PARAMETERS => is.read(items, Parameters::OF_IMAGE),
        // A condition without its parameter fails.
        command::VENDOR if is.vendor.is_some() => {
            for_vendor = true;
            policy(items)
        }
        command::CLASS if is.class.is_some() => {
            for_class = true;
            policy(items)
        }
        command::VENDOR | command::CLASS => Err(UpdateFault::Incomplete),
        _ => Err(UpdateFault::Unsupported),
    })?;
    match (components, is.vendor, is.class, is.digest, is.size) {
        (Some(components), Some(vendor), Some(class), Some(digest), Some(size))
            if for_vendor && for_class =>
        {
            Ok(Common { components, vendor, class, image: ImageRef { digest, size } })
        }
        _ => Err(UpdateFault::Incomplete),
    }
}

/// Identifiers are arrays of byte strings. What they are does not matter: the first is the image.
fn read_components(items: &mut Items<'_>) -> Fault<u64> {
    let len = items.array()?;
    expect(matches!(len, 1 | 2))?;
    for _ in 0..len {
        (0..items.array()?).try_for_each(|_| items.bytes().map(drop))?;
    }
    Ok(len)
}

/// Parameters of one component.
#[derive(Default)]
struct Parameters<'b> {
    vendor: Option<Uuid>,
    class: Option<Uuid>,
    digest: Option<Digest>,
    size: Option<u32>,
    use_before_s: Option<u64>,
    uri: Option<&'b str>,
}

impl<'b> Parameters<'b> {
    const OF_IMAGE: &'static [i64] =
        &[parameter::VENDOR, parameter::CLASS, parameter::IMAGE_DIGEST, parameter::IMAGE_SIZE];
    const OF_INSTALL: &'static [i64] = &[parameter::USE_BEFORE, parameter::URI];
    const OF_SOURCE: &'static [i64] = &[parameter::URI];
    const OF_BASE: &'static [i64] = &[parameter::IMAGE_DIGEST];

    /// Takes those that are `allowed` here and were not set before.
    fn read(&mut self, items: &mut Items<'b>, allowed: &[i64]) -> Fault<()> {
        items.map(&mut |items| {
            let label = items.integer()?;
            expect(allowed.contains(&label))?;
            match label {
                parameter::VENDOR => set(&mut self.vendor, uuid(items)?),
                parameter::CLASS => set(&mut self.class, uuid(items)?),
                parameter::IMAGE_DIGEST => {
                    set(&mut self.digest, Items::all(items.bytes()?.content, Items::digest)?)
                }
                parameter::IMAGE_SIZE => {
                    let size = u32::try_from(items.unsigned()?).map_err(|_| UpdateFault::TooLarge)?;
                    set(&mut self.size, size)
                }
                parameter::USE_BEFORE => set(&mut self.use_before_s, items.unsigned()?),
                _ => set(&mut self.uri, items.text()?),
            }
        })
    }
}

fn set<T>(place: &mut Option<T>, value: T) -> Fault<()> {
    expect(place.replace(value).is_none())
}

/// A vendor may also be named by its number at IANA; not here.
fn uuid(items: &mut Items<'_>) -> Fault<Uuid> {
    expect(items.kind()? != Type::Tag)?;
    items.fixed().map(Uuid)
}

/// The install sequence while it runs.
#[derive(Default)]
struct Install<'b> {
    components: u64,
    use_before_s: Option<u64>,
    sources: Vec<Source<'b>, SOURCES_MAX>,
}

impl<'b> Install<'b> {
    /// Runs the sequence, or one of those among which the first that succeeds is taken; gives whether the image was
    /// compared at the end.
    fn run(&mut self, sequence: Wrapped<'b>, one_of_many: bool) -> Fault<bool> {
        let mut index = IMAGE;
        let mut image = Parameters::default();
        let mut base = Parameters::default();
        let mut base_matches = false;
        let mut in_time = false;
        // None until something was fetched, then whether it was compared.
        let mut compared = None;
        let components = self.components;
        commands(sequence, &mut |command, items| match (command, index) {
            (command::SET_COMPONENT_INDEX, _) => {
                index = component(items)?;
                expect(index < components)
            }
            (command::IMAGE_MATCH, IMAGE) if compared.is_some() => {
                compared = Some(true);
                policy(items)
            }
            // After that there is nothing left to do.
            _ if compared.is_some() => Err(UpdateFault::Unsupported),
            (command::OVERRIDE_PARAMETERS, IMAGE) if one_of_many => image.read(items, Parameters::OF_SOURCE),
            (command::OVERRIDE_PARAMETERS, IMAGE) => image.read(items, Parameters::OF_INSTALL),
            (command::OVERRIDE_PARAMETERS, BASE) => base.read(items, Parameters::OF_BASE),
            (command::USE_BEFORE, IMAGE) if image.use_before_s.is_some() => {
                in_time = true;
                policy(items)
            }
            (command::IMAGE_MATCH, BASE) if base.digest.is_some() => {
                base_matches = true;
                policy(items)
            }
            (command::FETCH, IMAGE) if base.digest.is_some() == base_matches => {
                compared = Some(false);
                let uri = image.uri.ok_or(UpdateFault::NoSource)?;
                expect(self.sources.push(Source { uri, base: base.digest }).is_ok())?;
                policy(items)
            }
            (command::TRY_EACH, IMAGE) if !one_of_many && image.uri.is_none() && base.digest.is_none() => {
                let len = items.array()?;
                if len < 2 {
                    return Err(UpdateFault::Malformed);
                }
                let mut all = true;
                for _ in 0..len {
                    // An alternative that does nothing would be nil.
                    expect(items.is_bytes()?)?;
                    all &= self.run(items.bytes()?, true)?;
                }
                compared = Some(all);
                Ok(())
            }
            _ => Err(UpdateFault::Unsupported),
        })?;
        // Whatever was set must have been used.
        expect(image.use_before_s.is_some() == in_time)?;
        expect(compared.is_some() || (image.uri.is_none() && base.digest.is_none() && !one_of_many))?;
        if !one_of_many {
            self.use_before_s = image.use_before_s;
            expect(compared != Some(false))?;
        }
        Ok(compared == Some(true))
    }
}

/// A release of three numbers. Fewer, or one before the release, is not a version that an image can have.
fn read_version(bytes: Wrapped<'_>) -> Fault<Version> {
    Items::all(bytes.content, |items| {
        expect(items.array()? == 3)?;
        let mut number = || items.integer();
        let unsupported = |_| UpdateFault::Unsupported;
        Ok(Version {
            major: number()?.try_into().map_err(unsupported)?,
            minor: number()?.try_into().map_err(unsupported)?,
            revision: number()?.try_into().map_err(unsupported)?,
            build: 0,
        })
    })
}

/// The manifest's description in the first language. The other texts are for people who have the manifest before them.
fn read_text(bytes: Wrapped<'_>) -> Fault<Option<&str>> {
    let mut description = None;
    Items::all(bytes.content, |items| {
        items.map(&mut |items| {
            items.text()?;
            items.map(&mut |items| {
                if items.kind()? == Type::Array {
                    (0..items.array()?).try_for_each(|_| items.bytes().map(drop))?;
                    return items.map(&mut |items| read_words(items, text::COMPONENT_LAST).map(drop));
                }
                let (label, words) = read_words(items, text::LAST)?;
                if label == text::DESCRIPTION {
                    description.get_or_insert(words);
                }
                Ok(())
            })
        })
    })?;
    Ok(description)
}

fn read_words<'b>(items: &mut Items<'b>, last: i64) -> Fault<(i64, &'b str)> {
    let label = items.integer()?;
    expect((1..=last).contains(&label))?;
    Ok((label, items.text()?))
}

/// Who does not use a CoSWID need not know it: one item, and no more.
fn read_coswid(bytes: Wrapped<'_>) -> Fault<&[u8]> {
    Items::all(bytes.content, Items::skip)?;
    Ok(bytes.content)
}

fn read_mud(bytes: Wrapped<'_>) -> Fault<Mud<'_>> {
    let mut url = None;
    let mut signer = None;
    Items::all(bytes.content, |items| {
        items.map(&mut |items| {
            match items.integer()? {
                mud::URL if items.tag()? == URI => url = Some(items.text()?),
                mud::SKI => signer = Some(KeyId(items.digest()?)),
                _ => return Err(UpdateFault::Unsupported),
            }
            Ok(())
        })
    })?;
    match (url, signer) {
        (Some(url), Some(signer)) => Ok(Mud { url, signer }),
        _ => Err(UpdateFault::Incomplete),
    }
}
