//! A PKCS#11 module around another one, for tests of what happens when a token fails, hangs or lies. It is loaded like any
//! module; `CHAOS_MODULE` names the real one and `CHAOS_SCRIPT` a file of rules, read before each call
//! (see `script.rs`). Without rules it forwards everything. The names of the functions that were called go to the
//! file beside the script that ends in `.calls`.
//!
//! Only functions that the backend calls are scripted; the others are those of the real module.
#![allow(non_snake_case, reason = "the functions have the names of the standard")]

mod output;
mod script;

use std::ffi::{OsString, c_void};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_INFO, CK_MECHANISM, CK_MECHANISM_INFO,
    CK_MECHANISM_TYPE, CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID,
    CK_TOKEN_INFO, CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR, CKR_ARGUMENTS_BAD, CKR_FUNCTION_NOT_SUPPORTED,
    CKR_GENERAL_ERROR, CKR_OK, Pkcs11,
};

use crate::output::Output;
use crate::script::{Action, Script};

/// How often a hanging call looks for a new script.
const LOOK: Duration = Duration::from_millis(2);

/// The real module, and its functions. It stays loaded as long as the process.
struct Real {
    _library: Pkcs11,
    list: CK_FUNCTION_LIST,
}

static REAL: OnceLock<Option<Real>> = OnceLock::new();
static LIST: OnceLock<CK_FUNCTION_LIST> = OnceLock::new();
static SCRIPT: Mutex<Option<Script>> = Mutex::new(None);
/// The last two keys that were used, the later one first.
static KEYS: Mutex<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> = Mutex::new((0, 0));

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn real() -> Option<&'static CK_FUNCTION_LIST> {
    let load = || {
        let path = std::env::var_os("CHAOS_MODULE")?;
        // SAFETY: the file is a PKCS#11 module, whose initialisers may run at any time: whoever sets the variable says so.
        let library = unsafe { Pkcs11::new(path) }.ok()?;
        let mut list = std::ptr::null_mut();
        let get = library.C_GetFunctionList.as_ref().ok()?;
        // SAFETY: by PKCS#11 v3.1 §5.4.3 the function takes the address of a pointer and fills it.
        if unsafe { get(&raw mut list) } != CKR_OK {
            return None;
        }
        // SAFETY: after CKR_OK it is a list that lives as long as the module, or null if the module is broken.
        let list = unsafe { list.as_ref() }.copied()?;
        Some(Real { _library: library, list })
    };
    REAL.get_or_init(load).as_ref().map(|real| &real.list)
}

fn script_path() -> Option<OsString> {
    std::env::var_os("CHAOS_SCRIPT")
}

fn script_of_now() -> String {
    script_path().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
}

/// Notes a call, and says what is to be done about it.
fn begin(function: &'static str) -> Vec<Action> {
    static CALLS: OnceLock<Option<File>> = OnceLock::new();
    let calls = CALLS.get_or_init(|| {
        let mut path = script_path()?;
        path.push(".calls");
        OpenOptions::new().create(true).append(true).open(PathBuf::from(path)).ok()
    });
    if let Some(mut calls) = calls.as_ref() {
        // A test that counts calls will notice that one is missing.
        let _ = calls.write_all(format!("{function}\n").as_bytes());
    }
    let text = script_of_now();
    let mut script = lock(&SCRIPT);
    let script = script.get_or_insert_default();
    script.update(text);
    script.next(function)
}

fn hang() {
    let text = lock(&SCRIPT).as_ref().map(|script| script.text().to_owned()).unwrap_or_default();
    while script_of_now() == text {
        sleep(LOOK);
    }
}

/// Which key to use: the one that is asked for, or the other one of the last two.
fn key_for(asked: CK_OBJECT_HANDLE, actions: &[Action]) -> CK_OBJECT_HANDLE {
    let mut keys = lock(&KEYS);
    if keys.0 != asked {
        *keys = (asked, keys.0);
    }
    if actions.contains(&Action::OtherKey) { keys.1 } else { asked }
}

/// Does a call as the script wants it.
///
/// # Safety
/// `output` has the pointers of the call, good for what it says once `real` has returned.
unsafe fn carry_out(actions: &[Action], output: Output, real: impl FnOnce() -> CK_RV) -> CK_RV {
    let mut lost = None;
    for action in actions {
        match action {
            Action::Delay(milliseconds) => sleep(Duration::from_millis(*milliseconds)),
            Action::Hang => hang(),
            Action::Answer(value) => return *value,
            Action::Lose(value) => lost = Some(*value),
            // SAFETY: as the caller of this function promises.
            Action::OwnNonce => unsafe { output.write_nonce() },
            Action::OtherKey | Action::Lie(_) | Action::LieOf(..) => {}
        }
    }
    let answer = real();
    for action in actions {
        // SAFETY: the call has returned; the rest is what the caller of this function promises.
        unsafe { output.falsify(action) };
    }
    lost.unwrap_or(answer)
}

/// Functions that go through the script: their parameters, which of them is a key, and what they return.
macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*) $(by $key:ident)? => $output:expr;)*) => {
        $(
            unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
                let actions = begin(stringify!($name));
                $(let $key = key_for($key, &actions);)?
                let real = || match real().and_then(|list| list.$name) {
                    // SAFETY: the arguments of the caller, for the function of this name of the real module.
                    Some(function) => unsafe { function($($argument),*) },
                    None => CKR_FUNCTION_NOT_SUPPORTED,
                };
                // SAFETY: the pointers are those that the real function is called with.
                unsafe { carry_out(&actions, $output, real) }
            }
        )*

        /// Puts them in place of those of the real module.
        fn put_into(list: &mut CK_FUNCTION_LIST) {
            $(list.$name = Some($name);)*
        }
    };
}

use Output::{Attributes, Bytes, Mechanism, Nonce, Nothing, Number, Numbers, Session, Token};

functions! {
    C_Initialize(arguments: *mut c_void) => Nothing;
    C_Finalize(reserved: *mut c_void) => Nothing;
    C_GetInfo(info: *mut CK_INFO) => Nothing;
    C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) => Numbers(slots, count);
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) => Token(info);
    C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) => Numbers(list, count);
    C_GetMechanismInfo(slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO) => Mechanism(info);
    C_OpenSession(slot: CK_SLOT_ID, flags: CK_FLAGS, data: *mut c_void, notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE)
        => Number(session);
    C_CloseSession(session: CK_SESSION_HANDLE) => Nothing;
    C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) => Session(info);
    C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, length: CK_ULONG) => Nothing;
    C_Logout(session: CK_SESSION_HANDLE) => Nothing;
    C_FindObjectsInit(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG) => Nothing;
    C_FindObjects(session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, count: *mut CK_ULONG)
        => Numbers(objects, count);
    C_FindObjectsFinal(session: CK_SESSION_HANDLE) => Nothing;
    C_GetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG)
        => Attributes(template, count);
    C_GenerateKey(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE
    ) => Number(key);
    C_GenerateKeyPair(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public: *mut CK_ATTRIBUTE, public_count: CK_ULONG,
        private: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE,
        private_key: *mut CK_OBJECT_HANDLE
    ) => Number(private_key);
    C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) => Nothing;
    C_SignInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) by key => Nothing;
    C_Sign(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, length: CK_ULONG, out: *mut CK_BYTE, out_length: *mut CK_ULONG)
        => Bytes(out, out_length);
    C_EncryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) by key
        => Nonce(mechanism);
    C_Encrypt(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, length: CK_ULONG, out: *mut CK_BYTE, out_length: *mut CK_ULONG)
        => Bytes(out, out_length);
    C_DecryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) by key => Nothing;
    C_Decrypt(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, length: CK_ULONG, out: *mut CK_BYTE, out_length: *mut CK_ULONG)
        => Bytes(out, out_length);
    C_DeriveKey(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG, derived: *mut CK_OBJECT_HANDLE
    ) by key => Number(derived);
}

/// The door of every module (PKCS#11 v3.1 §5.4.3).
///
/// # Safety
/// `list` is null or the address of a pointer.
// SAFETY: no other function of this library or its dependencies has this name, and it has the standard's signature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let actions = begin("C_GetFunctionList");
    let real = || {
        let Some(real) = real() else { return CKR_GENERAL_ERROR };
        let scripted = LIST.get_or_init(|| {
            let mut scripted = *real;
            put_into(&mut scripted);
            scripted.C_GetFunctionList = Some(C_GetFunctionList);
            scripted
        });
        // SAFETY: as this function's caller promises.
        let Some(list) = (unsafe { list.as_mut() }) else { return CKR_ARGUMENTS_BAD };
        // Callers only read it: the standard's type is older than `const`.
        *list = std::ptr::from_ref(scripted).cast_mut();
        CKR_OK
    };
    // SAFETY: there is no output that could be falsified.
    unsafe { carry_out(&actions, Output::Nothing, real) }
}
