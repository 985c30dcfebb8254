//! From what a manifest says to our one form of it. Owns that form; the tools write it, a device never does.

use super::labels::{self, URI, command, common, envelope, header, manifest, mud, parameter, text};
use super::{ENVELOPE_BYTES_MAX, Envelope, ImageRef, Manifest, Mud, Source};
use crate::key::{Digest, KeyId, SIGNATURE_BYTES, Signature, sha256};
use crate::signed::SealError;
use crate::strict;
use minicbor::encode::{Error, Write};
use minicbor::{Encode, Encoder};

/// Writes `manifest` in our form, signed with the key named `signer`, into `out` of at most [`ENVELOPE_BYTES_MAX`] bytes
/// that are used; gives its length in bytes. `sign` gets the SHA-256 digest of the `Sig_structure`.
///
/// The content is taken as it is: whoever made it by hand finds out with [`Envelope::decode`] and [`Envelope::verify`]
/// whether a device would accept it.
pub fn seal<E>(
    manifest: &Manifest<'_>,
    signer: KeyId,
    out: &mut [u8],
    sign: impl FnOnce(&Digest) -> Result<Signature, E>,
) -> Result<usize, SealError<E>> {
    // Its length does not depend on what stands for the digest and for the signature: it is written with neither, to have
    // the manifest; then with the digest, to have what is signed; then as it is.
    let stand_in = [1; SIGNATURE_BYTES];
    let mut sealed = Sealed { digest: [0; 32], signer, signature: &stand_in, manifest };
    let digest = sha256(&[sealed.write(out)?.manifest.item]);
    sealed.digest = digest;
    let signature = sign(&sealed.write(out)?.signing_digest()).map_err(SealError::Signer)?;
    sealed.signature = signature.as_bytes();
    sealed.write(out)?;
    Ok(strict::length(|counted| sealed.encode(counted, &mut ())))
}

struct Sealed<'m> {
    digest: Digest,
    signer: KeyId,
    signature: &'m [u8; SIGNATURE_BYTES],
    manifest: &'m Manifest<'m>,
}

impl Sealed<'_> {
    fn write<'o, E>(&self, out: &'o mut [u8]) -> Result<Envelope<'o>, SealError<E>> {
        let len = strict::encode(self, out).map_err(|_| SealError::TooLong)?;
        let written = out.get(..len.min(ENVELOPE_BYTES_MAX + 1)).ok_or(SealError::TooLong)?;
        Envelope::decode(written).map_err(|_| SealError::TooLong)
    }
}

impl Encode<()> for Sealed<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        e.tag(labels::ENVELOPE)?.map(2)?.i64(envelope::AUTHENTICATION)?;
        Wrap(Authentication(self)).encode(e, ctx)?;
        e.i64(envelope::MANIFEST)?;
        Wrap(self.manifest).encode(e, ctx)
    }
}

/// An item inside a byte string.
struct Wrap<T>(T);

impl<T: Encode<()>> Encode<()> for Wrap<T> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        e.bytes_len(strict::length(|counted| self.0.encode(counted, &mut ())) as u64)?;
        self.0.encode(e, ctx)
    }
}

struct Authentication<'m>(&'m Sealed<'m>);

impl Encode<()> for Authentication<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        e.array(2)?;
        Wrap(SuitDigest(&self.0.digest)).encode(e, ctx)?;
        Wrap(Sign1(self.0)).encode(e, ctx)
    }
}

struct SuitDigest<'m>(&'m Digest);

impl Encode<()> for SuitDigest<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, (): &mut ()) -> Result<(), Error<W::Error>> {
        e.array(2)?.i64(labels::SHA256)?.bytes(self.0)?.ok()
    }
}

struct Sign1<'m>(&'m Sealed<'m>);

impl Encode<()> for Sign1<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        e.tag(labels::SIGN1)?.array(4)?;
        Wrap(Header(&self.0.signer)).encode(e, ctx)?;
        e.map(0)?.null()?.bytes(self.0.signature)?.ok()
    }
}

struct Header<'m>(&'m KeyId);

impl Encode<()> for Header<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, (): &mut ()) -> Result<(), Error<W::Error>> {
        e.map(2)?.i64(header::ALG)?.i64(header::ES256)?.i64(header::KID)?.bytes(&self.0.0)?.ok()
    }
}

impl Manifest<'_> {
    /// There is a second component, the image that runs, where there is a delta.
    fn has_base(&self) -> bool {
        self.sources.iter().any(|source| source.base.is_some())
    }
}

impl Encode<()> for Manifest<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        let install = !self.sources.is_empty() || self.use_before_s.is_some();
        let options = [
            self.reference_uri.is_some(),
            self.version.is_some(),
            self.sbom.is_some(),
            install,
            self.description.is_some(),
            self.mud.is_some(),
        ];
        e.map(5 + options.into_iter().map(u64::from).sum::<u64>())?;
        e.i64(manifest::VERSION)?.u8(1)?;
        e.i64(manifest::SEQUENCE_NUMBER)?.u64(self.sequence)?;
        e.i64(manifest::COMMON)?;
        Wrap(Common(self)).encode(e, ctx)?;
        if let Some(uri) = self.reference_uri {
            e.i64(manifest::REFERENCE_URI)?.str(uri)?;
        }
        if let Some(version) = &self.version {
            e.i64(manifest::SET_VERSION)?;
            Wrap([u16::from(version.major), u16::from(version.minor), version.revision]).encode(e, ctx)?;
        }
        e.i64(manifest::VALIDATE)?;
        Wrap(OfImage(self, command::IMAGE_MATCH, labels::REPORT_ALL)).encode(e, ctx)?;
        e.i64(manifest::INVOKE)?;
        Wrap(OfImage(self, command::INVOKE, labels::REPORT_FAILURE)).encode(e, ctx)?;
        if let Some(coswid) = self.sbom {
            e.i64(manifest::COSWID)?.bytes(coswid)?;
        }
        if install {
            e.i64(manifest::INSTALL)?;
            Wrap(Install(self)).encode(e, ctx)?;
        }
        if let Some(description) = self.description {
            e.i64(manifest::TEXT)?;
            Wrap(Text(description)).encode(e, ctx)?;
        }
        if let Some(mud) = &self.mud {
            e.i64(manifest::MUD)?;
            Wrap(mud).encode(e, ctx)?;
        }
        Ok(())
    }
}

struct Common<'m>(&'m Manifest<'m>);

impl Encode<()> for Common<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        e.map(2)?.i64(common::COMPONENTS)?;
        let components = 1 + u8::from(self.0.has_base());
        e.array(components.into())?;
        for identifier in 0..components {
            e.array(1)?.bytes(&[identifier])?;
        }
        e.i64(common::SHARED_SEQUENCE)?;
        Wrap(Shared(self.0)).encode(e, ctx)
    }
}

/// Makes the image the component that the next commands are about, where there is a choice.
fn choose_image<W: Write>(e: &mut Encoder<W>, is_chosen: bool) -> Result<(), Error<W::Error>> {
    if is_chosen {
        e.i64(command::SET_COMPONENT_INDEX)?.u8(0)?;
    }
    Ok(())
}

struct Shared<'m>(&'m Manifest<'m>);

impl Encode<()> for Shared<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        let Manifest { vendor, class, image: ImageRef { digest, size }, .. } = self.0;
        e.array(2 * (3 + u64::from(self.0.has_base())))?;
        choose_image(e, self.0.has_base())?;
        e.i64(command::OVERRIDE_PARAMETERS)?.map(4)?;
        e.i64(parameter::VENDOR)?.bytes(&vendor.0)?;
        e.i64(parameter::CLASS)?.bytes(&class.0)?;
        e.i64(parameter::IMAGE_DIGEST)?;
        Wrap(SuitDigest(digest)).encode(e, ctx)?;
        e.i64(parameter::IMAGE_SIZE)?.u32(*size)?;
        e.i64(command::VENDOR)?.i64(labels::REPORT_ALL)?;
        e.i64(command::CLASS)?.i64(labels::REPORT_ALL)?.ok()
    }
}

/// One command about the image, with its reporting policy.
struct OfImage<'m>(&'m Manifest<'m>, i64, i64);

impl Encode<()> for OfImage<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, (): &mut ()) -> Result<(), Error<W::Error>> {
        e.array(2 * (1 + u64::from(self.0.has_base())))?;
        choose_image(e, self.0.has_base())?;
        e.i64(self.1)?.i64(self.2)?.ok()
    }
}

struct Install<'m>(&'m Manifest<'m>);

impl Encode<()> for Install<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        let Manifest { sources, use_before_s, .. } = self.0;
        let has_base = self.0.has_base();
        let of_source = |source| Alternative { source, has_base };
        let commands = match sources.as_slice() {
            [] => 0,
            [source] => of_source(source).commands(),
            _ => 1 + u64::from(has_base),
        };
        e.array(2 * (commands + 2 * u64::from(use_before_s.is_some())))?;
        if let Some(time) = use_before_s {
            e.i64(command::OVERRIDE_PARAMETERS)?.map(1)?.i64(parameter::USE_BEFORE)?.u64(*time)?;
            e.i64(command::USE_BEFORE)?.i64(labels::REPORT_ALL)?;
        }
        match sources.as_slice() {
            [] => Ok(()),
            [source] => of_source(source).write(e, ctx),
            _ => {
                choose_image(e, has_base)?;
                e.i64(command::TRY_EACH)?.array(sources.len() as u64)?;
                sources.iter().try_for_each(|source| Wrap(of_source(source)).encode(e, ctx))
            }
        }
    }
}

/// Fetching from one source. The image is compared at the end of each, so that who cannot use a delta tries the next one.
struct Alternative<'m> {
    source: &'m Source<'m>,
    has_base: bool,
}

impl Alternative<'_> {
    fn commands(&self) -> u64 {
        3 + u64::from(self.has_base) + if self.source.base.is_some() { 3 } else { 0 }
    }

    fn write<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        if let Some(base) = &self.source.base {
            e.i64(command::SET_COMPONENT_INDEX)?.u8(1)?;
            e.i64(command::OVERRIDE_PARAMETERS)?.map(1)?.i64(parameter::IMAGE_DIGEST)?;
            Wrap(SuitDigest(base)).encode(e, ctx)?;
            e.i64(command::IMAGE_MATCH)?.i64(labels::REPORT_ALL)?;
        }
        choose_image(e, self.has_base)?;
        e.i64(command::OVERRIDE_PARAMETERS)?.map(1)?.i64(parameter::URI)?.str(self.source.uri)?;
        e.i64(command::FETCH)?.i64(labels::REPORT_FAILURE)?;
        e.i64(command::IMAGE_MATCH)?.i64(labels::REPORT_ALL)?.ok()
    }
}

impl Encode<()> for Alternative<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        e.array(2 * self.commands())?;
        self.write(e, ctx)
    }
}

struct Text<'m>(&'m str);

impl Encode<()> for Text<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, (): &mut ()) -> Result<(), Error<W::Error>> {
        e.map(1)?.str(text::LANGUAGE)?.map(1)?.i64(text::DESCRIPTION)?.str(self.0)?.ok()
    }
}

impl Encode<()> for Mud<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut ()) -> Result<(), Error<W::Error>> {
        e.map(2)?.i64(mud::URL)?.tag(URI)?.str(self.url)?.i64(mud::SKI)?;
        SuitDigest(&self.signer.0).encode(e, ctx)
    }
}
