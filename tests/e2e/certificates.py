"""Certificates and who signs them."""

import os
import subprocess


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True, timeout=60)


def authority(folder, name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
            "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt", cwd=folder)


def certificate(folder, signer, name, subject, names=None):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={subject}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=folder)
    (folder / "ext").write_text(f"subjectAltName={names}\n" if names else "extendedKeyUsage=clientAuth\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.crt", "-CAkey", f"{signer}.key", "-CAcreateserial",
            "-days", "30", "-extfile", "ext", "-out", f"{name}.crt", cwd=folder)
    os.chmod(folder / f"{name}.key", 0o600)


def server_keys(folder):
    """ca.crt has signed server.crt, which is of 127.0.0.1 and not of localhost; other.crt has signed nothing."""
    for name in ["ca", "other"]:
        authority(folder, name)
    certificate(folder, "ca", "server", "maru-test", "IP:127.0.0.1")
    return folder
