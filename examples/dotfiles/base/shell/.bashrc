# Interactive shells only: scripts must not depend on what is here.
case $- in *i*) ;; *) return ;; esac

HISTCONTROL=ignoreboth
HISTSIZE=100000
HISTFILESIZE=200000
shopt -s histappend checkwinsize globstar

for part in ~/.config/shell/*.sh; do
    [ -r "$part" ] && . "$part"
done
unset part
