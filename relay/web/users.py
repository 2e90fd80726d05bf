"""Users: who may open the console, for admins."""

from quart import Response

from relay.users import UserProblem
from relay.web.visit import Visit


async def listing(visit: Visit) -> Response:
    return await _listing(visit)


async def _listing(visit: Visit, problem: str = "") -> Response:
    users = await visit.ctx.users.list()
    fields = {"name": visit.given("name"), "role": visit.given("role") or "viewer"}
    return visit.page(
        "users.html", 422 if problem else 200, users=users, fields=fields, problem=problem
    )


async def add(visit: Visit) -> Response:
    password = visit.form.get("password", "")
    try:
        user = await visit.ctx.users.add(visit.given("name"), password, visit.given("role"))
    except UserProblem as problem:
        return await _listing(visit, visit.told(problem))
    return visit.redirect(f"/web/users/{user.name}", "added")


async def show(visit: Visit, name: str) -> Response:
    return await _show(visit, name)


async def _show(visit: Visit, name: str, problem: str = "") -> Response:
    user = await visit.ctx.users.find(name)
    sessions = await visit.ctx.users.sessions(name)
    return visit.page(
        "user.html", 422 if problem else 200, user=user, sessions=sessions, problem=problem
    )


async def role(visit: Visit, name: str) -> Response:
    try:
        await visit.ctx.users.set_role(name, visit.given("role"))
    except UserProblem as problem:
        return await _show(visit, name, visit.told(problem))
    return visit.redirect(f"/web/users/{name}", "saved")


async def password(visit: Visit, name: str) -> Response:
    """A new password for somebody; they are signed out everywhere."""
    try:
        await visit.ctx.users.set_password(name, visit.form.get("password", ""))
    except UserProblem as problem:
        return await _show(visit, name, visit.told(problem))
    return visit.redirect(f"/web/users/{name}", "saved")


async def enable(visit: Visit, name: str) -> Response:
    await visit.ctx.users.set_enabled(name, enabled=True)
    return visit.redirect(f"/web/users/{name}", "enabled")


async def disable(visit: Visit, name: str) -> Response:
    try:
        await visit.ctx.users.set_enabled(name, enabled=False)
    except UserProblem as problem:
        return await _show(visit, name, visit.told(problem))
    return visit.redirect(f"/web/users/{name}", "disabled")


async def sign_out(visit: Visit, name: str) -> Response:
    await visit.ctx.users.find(name)
    await visit.ctx.users.sign_out_everywhere(name)
    return visit.redirect(f"/web/users/{name}", "signed_out")


async def reset_second_factor(visit: Visit, name: str) -> Response:
    await visit.ctx.users.drop_second_factor(name)
    return visit.redirect(f"/web/users/{name}", "saved")


async def remove(visit: Visit, name: str) -> Response:
    """Remove a user for good, once the name was typed."""
    if visit.given("confirm") != name:
        told = visit.text("The name is not right; nothing was removed.")
        return await _show(visit, name, told)
    try:
        await visit.ctx.users.remove(name)
    except UserProblem as problem:
        return await _show(visit, name, visit.told(problem))
    return visit.redirect("/web/users", "removed")
