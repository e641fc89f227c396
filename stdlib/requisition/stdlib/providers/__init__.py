"""The providers: what each action does. The runtime imports one when an order uses it; the compiler never.

`BUILTIN` is the one place of registration: action name → `module:class`.
"""

_HERE = "requisition.stdlib.providers"

BUILTIN: dict[str, str] = {
    "archive.extract": f"{_HERE}.archive:Extract",
    "content.literal": f"{_HERE}.content:Literal",
    "encryption.decrypt": f"{_HERE}.encryption.decrypt:Decrypt",
    "file.backup": f"{_HERE}.file_moves:Backup",
    "file.chmod": f"{_HERE}.file_changes:Chmod",
    "file.copy": f"{_HERE}.file:Copy",
    "file.link": f"{_HERE}.file:Link",
    "file.mkdir": f"{_HERE}.file:Mkdir",
    "file.read": f"{_HERE}.file_changes:Read",
    "file.remove": f"{_HERE}.file_changes:Remove",
    "file.rename": f"{_HERE}.file_moves:Rename",
    "file.unlink": f"{_HERE}.file_changes:Unlink",
    "file.write": f"{_HERE}.file:Write",
    "git.checkout": f"{_HERE}.git:Checkout",
    "git.clone": f"{_HERE}.git:Clone",
    "git.pull": f"{_HERE}.git:Pull",
    "group.absent": f"{_HERE}.group:Absent",
    "group.member": f"{_HERE}.group:Member",
    "group.present": f"{_HERE}.group:Present",
    "net.download": f"{_HERE}.net.download:Download",
    "net.http_check": f"{_HERE}.net.checks:HttpCheck",
    "net.wait_port": f"{_HERE}.net.checks:WaitPort",
    "package.hold": f"{_HERE}.package.actions:Hold",
    "package.install": f"{_HERE}.package.actions:Install",
    "package.remove": f"{_HERE}.package.actions:Remove",
    "package.update": f"{_HERE}.package.actions:Update",
    "package.upgrade": f"{_HERE}.package.actions:Upgrade",
    "require.arch": f"{_HERE}.require:RequireArch",
    "require.command": f"{_HERE}.require:RequireCommand",
    "require.disk": f"{_HERE}.require:RequireDisk",
    "require.os": f"{_HERE}.require:RequireOs",
    "require.path": f"{_HERE}.require:RequirePath",
    "require.port": f"{_HERE}.require:RequirePort",
    "shell.exec": f"{_HERE}.shell:Exec",
    "template.render": f"{_HERE}.template:Render",
    "text.block": f"{_HERE}.text.lines:Block",
    "text.line": f"{_HERE}.text.lines:Line",
    "text.set": f"{_HERE}.text.values:Set",
    "user.absent": f"{_HERE}.user:Absent",
    "user.present": f"{_HERE}.user:Present",
}
