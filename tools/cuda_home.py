#!/usr/bin/env python3
"""Makes a folder to build the feature `cuda` against, so that the programs start on machines without CUDA.

    python tools/cuda_home.py TOOLKIT FOLDER     # TOOLKIT has bin/nvcc, include and lib or lib64
    export CUDA_HOME=FOLDER NVCC=TOOLKIT/bin/nvcc

x86-64 Linux; needs cargo, a C compiler and `ar`. FOLDER/lib gets, for the driver and each library of CUDA, a static archive of small
functions that open the real library at the first call. They look where the loader looks (LD_LIBRARY_PATH), and in the
colon-separated directories of the variable CUDA_LIBS. If the library is missing, they return its own error code, and the program
computes on the CPU. The names of the functions are read from the bindings in the crate that calls them; the libraries themselves are
not needed here.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Name, module of the bindings, file of the real library, what its functions' names start with, the error "not there".
LIBRARIES = [
    ("cuda", "driver", "libcuda.so.1", "cu[A-Z]", 34),
    ("cublas", "cublas", "libcublas.so", "cublas", 1),
    ("cublasLt", "cublaslt", "libcublasLt.so", "cublasLt", 1),
    ("curand", "curand", "libcurand.so", "curand", 203),
    ("nvrtc", "nvrtc", "libnvrtc.so", "nvrtc", 11),
    ("cudnn", "cudnn", "libcudnn.so", "cudnn", 1001),
    ("nccl", "nccl", "libnccl.so", "p?nccl", 1),
]
# Versions of the files, newest first: CUDA 13 and 12, cuRAND 10, cuDNN 9, NCCL 2.
VERSIONS = {"cuda": [""], "curand": [".10"], "cudnn": [".9"], "nccl": [".2"]}

# Saves what may hold arguments, asks `find` for the function of this number, goes on there.
RESOLVE = """
.text
.hidden find_{lib}
resolve_{lib}:
 subq $192, %rsp
{save}
 movq 192(%rsp), %rdi
 call find_{lib}
 movq %rax, %r11
{restore}
 addq $200, %rsp
 jmp *%r11
.section .note.GNU-stack,"",@progbits
"""

FIND = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static const char *const names[] = {{{names}}};
static const char kinds[] = "{kinds}";
static const char *const files[] = {{{files}}};
extern void *slots_{lib}[] __attribute__((visibility("hidden")));
static void *library;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void *open_in(const char *folder, int length, const char *file) {{
  char path[4096];
  snprintf(path, sizeof path, "%.*s%s%s", length, folder, length ? "/" : "", file);
  return dlopen(path, RTLD_LAZY | RTLD_LOCAL);
}}
static void open_library(void) {{
  for (unsigned i = 0; i < sizeof files / sizeof *files && !library; ++i) library = open_in("", 0, files[i]);
  for (const char *at = getenv("CUDA_LIBS"); at && *at && !library;) {{
    size_t length = strcspn(at, ":");
    for (unsigned i = 0; i < sizeof files / sizeof *files && !library; ++i) library = open_in(at, (int)length, files[i]);
    at += length + (at[length] == ':');
  }}
}}
static long missing_status(void) {{ return {status}; }}
static const char *missing_text(void) {{ return "{soname} is not there"; }}
static size_t missing_size(void) {{ return 0; }}
__attribute__((visibility("hidden"))) void *find_{lib}(unsigned long number) {{
  pthread_once(&once, open_library);
  void *found = library ? dlsym(library, names[number]) : 0;
  if (!found) found = kinds[number] == 't' ? (void *)missing_text : kinds[number] == 's' ? (void *)missing_size : (void *)missing_status;
  __atomic_store_n(&slots_{lib}[number], found, __ATOMIC_RELEASE);
  return found;
}}
"""


def bindings():
    """The folder of the crate `cudarc`'s sources, in the version of Cargo.lock."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--features", "impasto-trainer/nccl"]
    packages = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)["packages"]
    return next(Path(package["manifest_path"]).parent for package in packages if package["name"] == "cudarc")


def functions(source, prefix):
    """Names, each with what it returns: a status, a text or a size."""
    kinds = {}
    for name, result in re.findall(r"pub unsafe fn (\w+)\([^{]*?\)\s*->\s*([^{]+?)\s*\{", source):
        if re.match(prefix, name):
            kinds[name] = "t" if "c_char" in result and "*" in result else "s" if result == "usize" else "e"
    return sorted(kinds.items())


def assembly(lib, names):
    registers = ["rdi", "rsi", "rdx", "rcx", "r8", "r9", "rax"]
    save = [f" movq %{name}, {8 * i}(%rsp)" for i, name in enumerate(registers)]
    save += [f" movups %xmm{i}, {64 + 16 * i}(%rsp)" for i in range(8)]
    restore = [re.sub(r"(mov\w+) (%\w+), (.*)", r"\1 \3, \2", line) for line in save]
    lines = [".text"]
    for number, name in enumerate(names):
        lines += [f".globl {name}", f".type {name},@function", f"{name}: jmp *slots_{lib}+{8 * number}(%rip)"]
        lines += [f"first_{lib}_{number}: pushq ${number}", f" jmp resolve_{lib}"]
    lines += [".data", ".balign 8", f".globl slots_{lib}", f".hidden slots_{lib}", f"slots_{lib}:"]
    lines += [f" .quad first_{lib}_{number}" for number in range(len(names))]
    return "\n".join(lines) + RESOLVE.format(lib=lib, save="\n".join(save), restore="\n".join(restore))


def archive(folder, scratch, library, source):
    lib, _, soname, prefix, status = library
    found = functions(source, prefix)
    if not found:
        sys.exit(f"no function of {lib} was found in the bindings")
    files = ", ".join(f'"{soname}{version}"' for version in VERSIONS.get(lib, [".13", ".12"]) + [""])
    (scratch / f"{lib}.s").write_text(assembly(lib, [name for name, _ in found]))
    names, kinds = ", ".join(f'"{name}"' for name, _ in found), "".join(kind for _, kind in found)
    text = FIND.format(lib=lib, names=names, kinds=kinds, files=files, status=status, soname=soname)
    (scratch / f"find_{lib}.c").write_text(text)
    objects = []
    for name in (f"{lib}.s", f"find_{lib}.c"):
        objects.append(scratch / (name + ".o"))
        subprocess.run(["cc", "-c", "-O2", "-fPIC", "-o", objects[-1], scratch / name], check=True)
    target = folder / f"lib{lib}.a"
    target.unlink(missing_ok=True)
    subprocess.run(["ar", "rcs", target, *objects], check=True)
    print(f"{target}: {len(found)} functions")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    toolkit, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    runtime = [path / "libcudart_static.a" for path in (toolkit / "lib64", toolkit / "lib")]
    runtime = next((path for path in runtime if path.exists()), None)
    if runtime is None or not (toolkit / "include" / "cuda.h").exists():
        sys.exit(f"`{toolkit}` is no CUDA toolkit: it lacks include/cuda.h or libcudart_static.a")
    (folder / "lib").mkdir(parents=True, exist_ok=True)
    for link, target in ((folder / "include", toolkit / "include"), (folder / "lib" / "libcudart.a", runtime)):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    sources = bindings()
    with tempfile.TemporaryDirectory() as scratch:
        for library in LIBRARIES:
            source = (sources / "src" / library[1] / "sys" / "mod.rs").read_text()
            archive(folder / "lib", Path(scratch), library, source)


if __name__ == "__main__":
    main()
