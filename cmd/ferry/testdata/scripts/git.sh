# Clone, look, change, commit, collect garbage, and compare with the origin.
git init -q "$TMP/origin"
git -C "$TMP/origin" config user.email a@example.org
git -C "$TMP/origin" config user.name a
for i in $(seq 200); do mkdir -p "$TMP/origin/d$((i % 10))"; seq "$i" >"$TMP/origin/d$((i % 10))/f$i"; done
git -C "$TMP/origin" add .
git -C "$TMP/origin" commit -qm one
git clone -q "$TMP/origin" clone
cd clone
test -z "$(git status --porcelain)"
git config user.email b@example.org
git config user.name b
echo change >>d1/f1
test "$(git status --porcelain)" = " M d1/f1"
git commit -qam two
git fsck --strict
git gc -q
test -z "$(git status --porcelain)"
git push -q origin HEAD:refs/heads/two
test "$(git -C "$TMP/origin" rev-parse two)" = "$(git rev-parse HEAD)"
