team
