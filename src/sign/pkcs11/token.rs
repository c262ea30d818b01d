//! A session with a token, on a thread of its own: modules may block for as long as they like, and
//! there is no way to stop them, only to stop waiting.

use std::fs;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use der::Decode as _;
use rsa::traits::PublicKeyParts as _;
use x509_cert::Certificate;

use super::super::authenticode::public_key;
use super::super::failure;
use super::super::{Role, Settings, Signer};
use super::{Pin, Uri};
use crate::digest::hex;
use crate::failure::Failure;

/// DigestInfo of SHA-256 without the digest (RFC 8017, section 9.2, note 1): `CKM_RSA_PKCS` pads,
/// and does not say what was hashed.
const DIGEST_INFO: [u8; 19] =
    *b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";

/// How long a module may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// What is asked of the thread that talks to the module.
enum Question {
    /// Find the key of this label that has this modulus.
    Find {
        label: String,
        modulus: Vec<u8>,
        answer: Sender<Result<ObjectHandle>>,
    },
    /// Sign this DigestInfo.
    Sign {
        key: ObjectHandle,
        data: Vec<u8>,
        answer: Sender<Result<Vec<u8>>>,
    },
}

/// An open token.
#[derive(Debug)]
pub struct Token {
    line: Arc<Line>,
    uri: Uri,
}

/// The way to the thread.
#[derive(Debug)]
struct Line {
    questions: Mutex<Option<Sender<Question>>>,
    ended: Mutex<Receiver<()>>,
    limit: Duration,
    shown: String,
}

impl Drop for Line {
    fn drop(&mut self) {
        // The thread ends when nobody can ask any more; a module that hangs is left behind.
        if let Ok(mut questions) = self.questions.lock() {
            questions.take();
        }
        if let Ok(ended) = self.ended.lock() {
            let _ = ended.recv_timeout(GOODBYE);
        }
    }
}

impl Token {
    /// Loads the module, finds the token, and logs in.
    ///
    /// # Errors
    /// There is no such module, token or PIN, or the module takes longer than the limit.
    pub fn open(uri: &Uri, settings: &Settings) -> Result<Self> {
        let pin = pin(uri, settings)?;
        let (questions, inbox) = mpsc::channel();
        let (opened, open) = mpsc::channel();
        let (goodbye, ended) = mpsc::channel();
        let thread_uri = uri.clone();
        std::thread::spawn(move || {
            serve(&thread_uri, pin, &opened, &inbox);
            let _ = goodbye.send(());
        });
        let line = Line {
            questions: Mutex::new(Some(questions)),
            ended: Mutex::new(ended),
            limit: settings.limit,
            shown: uri.to_string(),
        };
        line.wait(&open)?;
        Ok(Self {
            line: Arc::new(line),
            uri: uri.clone(),
        })
    }

    /// The key of `role`, which has to belong to `certificate` (DER).
    ///
    /// # Errors
    /// The token has no such key, or one of another certificate.
    pub fn signer(&self, role: Role, certificate: &[u8]) -> Result<Box<dyn Signer>> {
        let parsed = Certificate::from_der(certificate).context("reading the certificate")?;
        let modulus = public_key(&parsed)?.n().to_bytes_be();
        let label = self.uri.label(role.name());
        let key = self.line.ask(|answer| Question::Find {
            label,
            modulus,
            answer,
        })?;
        Ok(Box::new(TokenSigner {
            line: Arc::clone(&self.line),
            key,
            certificate: certificate.to_vec(),
        }))
    }
}

impl Line {
    fn ask<T>(&self, question: impl FnOnce(Sender<Result<T>>) -> Question) -> Result<T> {
        let (sender, receiver) = mpsc::channel();
        let sent = self
            .questions
            .lock()
            .ok()
            .and_then(|line| line.as_ref().and_then(|l| l.send(question(sender)).ok()));
        if sent.is_none() {
            return Err(self.gone().into());
        }
        self.wait(&receiver)
    }

    fn wait<T>(&self, answer: &Receiver<Result<T>>) -> Result<T> {
        match answer.recv_timeout(self.limit) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Err(self.gone().into()),
            Err(RecvTimeoutError::Timeout) => {
                // Whatever it still does, it is asked nothing more.
                if let Ok(mut questions) = self.questions.lock() {
                    questions.take();
                }
                Err(failure(format!(
                    "{}: the PKCS #11 module gave no answer within {} s",
                    self.shown,
                    self.limit.as_secs_f64()
                ))
                .hint("is the token connected, or does it wait for a touch?")
                .hint("HULLWRIGHT_SIGNER_TIMEOUT sets the limit in seconds")
                .into())
            }
        }
    }

    fn gone(&self) -> Failure {
        failure(format!("{}: the PKCS #11 module is gone", self.shown))
    }
}

/// A key of a token.
#[derive(Debug)]
struct TokenSigner {
    line: Arc<Line>,
    key: ObjectHandle,
    certificate: Vec<u8>,
}

impl Signer for TokenSigner {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn sign_sha256(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        let data = [&DIGEST_INFO[..], digest].concat();
        self.line.ask(|answer| Question::Sign {
            key: self.key,
            data,
            answer,
        })
    }
}

fn pin(uri: &Uri, settings: &Settings) -> Result<Option<AuthPin>> {
    let text = match &uri.pin {
        Pin::Outside => settings.pin.clone(),
        Pin::Value(value) => Some(value.clone()),
        Pin::File(path) => {
            let shown = path.display();
            let text = fs::read_to_string(path).map_err(|error| {
                failure(format!("reading the PIN of {uri} from {shown}: {error}"))
            })?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
    };
    Ok(text.map(|pin| AuthPin::new(pin.into())))
}

/// The thread's life: opens the session, says so, answers questions, and logs out.
fn serve(
    uri: &Uri,
    pin: Option<AuthPin>,
    opened: &Sender<Result<()>>,
    questions: &Receiver<Question>,
) {
    let (module, session) = match open(uri, pin.as_ref()) {
        Ok(open) => open,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    drop(pin);
    let _ = opened.send(Ok(()));
    for question in questions {
        match question {
            Question::Find {
                label,
                modulus,
                answer,
            } => {
                let _ = answer.send(find(&session, uri, &label, &modulus));
            }
            Question::Sign { key, data, answer } => {
                let signature = session
                    .sign(&Mechanism::RsaPkcs, key, &data)
                    .map_err(|error| refused(uri, "refuses to sign", &error).into());
                let _ = answer.send(signature);
            }
        }
    }
    drop(session);
    let _ = module.finalize();
}

/// A module's error in few words: its own descriptions are paragraphs of the specification.
fn refused(uri: &Uri, what: &str, error: &Error) -> Failure {
    let name = match error {
        Error::Pkcs11(code, function) => format!("C_{function:?}: {code:?}"),
        other => other.to_string(),
    };
    failure(format!("{uri}: the token {what} ({name})"))
}

fn open(uri: &Uri, pin: Option<&AuthPin>) -> Result<(Pkcs11, Session)> {
    let path = uri.module.display();
    let module = Pkcs11::new(&uri.module).map_err(|error| {
        failure(format!("loading the PKCS #11 module {path}: {error}"))
            .hint("`module-path` of the URI names the library of the token's maker")
    })?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(refused(uri, "can't be initialised", &error).into()),
    }
    let (slot, info) = choose(&module, uri)?;
    let session = module
        .open_ro_session(slot)
        .map_err(|error| refused(uri, "opens no session", &error))?;
    if info.login_required() {
        login(&session, uri, &info, pin)?;
    }
    Ok((module, session))
}

/// The one token that the URI means.
fn choose(module: &Pkcs11, uri: &Uri) -> Result<(Slot, TokenInfo)> {
    let slots = module
        .get_slots_with_token()
        .map_err(|error| refused(uri, "can't be looked for", &error))?;
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for slot in slots {
        let Ok(info) = module.get_token_info(slot) else {
            continue;
        };
        if info.token_initialized() && matches(uri, slot, &info) {
            found.push((slot, info));
        } else if info.token_initialized() {
            others.push(format!("`{}`", info.label()));
        }
    }
    let path = uri.module.display();
    if found.len() > 1 {
        return Err(failure(format!(
            "{uri} means {} tokens of the module {path}",
            found.len()
        ))
        .hint("add `serial=` or `slot-id=` to the URI")
        .into());
    }
    found.pop().ok_or_else(|| {
        let failure = failure(format!("{uri}: the module {path} has no such token"));
        if others.is_empty() {
            failure.hint("it has none at all: is the device connected, and its service running?")
        } else {
            failure.hint(format!("it has {}", others.join(", ")))
        }
        .into()
    })
}

fn matches(uri: &Uri, slot: Slot, info: &TokenInfo) -> bool {
    let same = |wanted: &Option<String>, found: &str| {
        wanted
            .as_deref()
            .is_none_or(|wanted| wanted == found.trim_end())
    };
    same(&uri.token, info.label())
        && same(&uri.manufacturer, info.manufacturer_id())
        && same(&uri.model, info.model())
        && same(&uri.serial, info.serial_number())
        && uri.slot.is_none_or(|id| id == slot.id())
}

fn login(session: &Session, uri: &Uri, info: &TokenInfo, pin: Option<&AuthPin>) -> Result<()> {
    // A token with a keypad asks by itself.
    let by_itself = pin.is_none() && info.protected_authentication_path();
    if pin.is_none() && !by_itself {
        return Err(failure(format!("{uri} needs a PIN"))
            .hint("set HULLWRIGHT_PIN, or name a file: `…&pin-source=file:/run/secrets/pin`")
            .into());
    }
    match session.login(UserType::User, pin) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
            _,
        )) => Err(failure(format!("{uri}: the PIN is wrong"))
            .hint("tokens lock after a few wrong ones; make sure before trying again")
            .into()),
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(failure(format!(
            "{uri}: the PIN is locked after too many wrong ones"
        ))
        .into()),
        Err(error) => Err(refused(uri, "refuses the login", &error).into()),
    }
}

/// The one private key of this label or id.
fn find(session: &Session, uri: &Uri, label: &str, modulus: &[u8]) -> Result<ObjectHandle> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    let mut wanted = Vec::new();
    if let Some(id) = &uri.id {
        template.push(Attribute::Id(id.clone()));
        wanted.push(format!("with the id {}", hex(id)));
    }
    if uri.object.is_some() || uri.id.is_none() {
        template.push(Attribute::Label(label.as_bytes().to_vec()));
        wanted.push(format!("called `{label}`"));
    }
    let wanted = wanted.join(" and ");
    let search = |template: &[Attribute]| -> Result<Vec<ObjectHandle>> {
        let found = session.find_objects(template);
        Ok(found.map_err(|error| refused(uri, "can't be searched", &error))?)
    };
    let found = search(&template)?;
    let key = match found.as_slice() {
        [key] => *key,
        [] => {
            let all = search(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])?;
            let labels: Vec<_> = all.iter().map(|key| label_of(session, *key)).collect();
            let failure = failure(format!("{uri}: the token has no private key {wanted}"));
            return Err(if labels.is_empty() {
                failure.hint("it shows no private key at all")
            } else {
                failure
                    .hint(format!("it has {}", labels.join(", ")))
                    .hint("`object=NAME` of the URI names the key, with `{key}` for db and verity")
            }
            .into());
        }
        many => {
            return Err(failure(format!(
                "{uri}: the token has {} private keys {wanted}",
                many.len()
            ))
            .hint("add `id=` to the URI")
            .into());
        }
    };
    // Some tokens do not tell; their signatures are verified all the same.
    let attributes = session
        .get_attributes(key, &[AttributeType::Modulus])
        .unwrap_or_default();
    for attribute in attributes {
        if let Attribute::Modulus(found) = attribute
            && found.iter().skip_while(|byte| **byte == 0).ne(modulus)
        {
            return Err(failure(format!(
                "{uri}: the private key {wanted} does not belong to the certificate"
            ))
            .hint("export the certificate of this key into the key folder, or name another key")
            .into());
        }
    }
    Ok(key)
}

fn label_of(session: &Session, key: ObjectHandle) -> String {
    let attributes = session
        .get_attributes(key, &[AttributeType::Label])
        .unwrap_or_default();
    for attribute in attributes {
        if let Attribute::Label(label) = attribute {
            return format!("`{}`", String::from_utf8_lossy(&label).escape_debug());
        }
    }
    "one without a label".into()
}
