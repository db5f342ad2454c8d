for i in $(seq 50); do head -c 20000 /dev/urandom >"f$i"; done
zip -q all.zip f*
"$FERRY" wait --timeout 1m all.zip
unzip -l all.zip | grep -q '50 files'
mkdir out
unzip -q all.zip -d out
for i in $(seq 50); do cmp "f$i" "out/f$i"; done
